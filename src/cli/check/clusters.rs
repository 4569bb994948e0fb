//! Clusters: who answers, and what may be read.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::report::{Source, State};
use super::snippets;
use crate::app;
use crate::config::Config;
use crate::image::Repository;
use crate::observers::cluster::{self, Access, CheckReport, Resource};

/// Asks each what we may read of it, and which repositories its workloads use.
pub async fn check(config: &Config) -> (Vec<Source>, BTreeSet<Repository>) {
    let named = app::clusters(config);
    let is_chosen = !config.clusters.is_empty();
    let mut images = BTreeSet::new();
    let mut sources = Vec::new();
    for (cluster, outcome) in named.iter().zip(join_all(named.iter().map(cluster::check)).await) {
        let name = format!("cluster/{}", cluster.name);
        match outcome {
            Ok(report) => {
                images.extend(report.images.iter().cloned());
                sources.push(found(name, &report));
            }
            Err(error) => {
                let told = error.to_string();
                let told = told.strip_prefix(&format!("cluster {}: ", cluster.name)).unwrap_or(&told);
                let blind = Source::blind(name, told)
                    .costs("applied, started, ready and live are unknown; nothing can be said to be live");
                let blind =
                    if is_chosen { blind } else { blind.paste("knotmeter.yaml", snippets::cluster("prod")) };
                sources.push(blind);
            }
        }
    }
    (sources, images)
}

fn found(name: String, report: &CheckReport) -> Source {
    let mut source = Source::ok(name, format!("server {}, uid {}", report.server_version, report.uid));
    for (resource, access) in &report.resources {
        match access {
            Access::Allowed => continue,
            Access::Forbidden(said) => source.part(resource.plural(), State::Forbidden, said),
            // No engine is missing where none is used.
            Access::Missing if matches!(resource, Resource::Engine(_)) => continue,
            Access::Missing => {
                source.part(resource.plural(), State::Absent, "the cluster has none");
                continue;
            }
            Access::Failed(why) => source.part(resource.plural(), State::Blind, why),
        }
        source = source.costs(cost(*resource));
    }
    match report.grant() {
        Some(grant) => source.paste("kubectl apply -f -", grant),
        None => source,
    }
}

/// What is not known without a kind of object.
fn cost(resource: Resource) -> String {
    match resource {
        Resource::Deployments | Resource::StatefulSets | Resource::DaemonSets | Resource::CronJobs => {
            format!("without {resource} these workloads are not followed at all")
        }
        Resource::ReplicaSets => "without replicasets nothing of a Deployment is known after applied".into(),
        Resource::ControllerRevisions => {
            "without controllerrevisions nothing of a StatefulSet or DaemonSet is known after applied".into()
        }
        Resource::Jobs => "without jobs no CronJob is ever live".into(),
        Resource::Pods => {
            "without pods started, ready and live are unknown, and why a rollout is stuck".into()
        }
        Resource::ConfigMaps => "without configmaps config_not_rolled is never seen".into(),
        Resource::Namespaces => {
            "without namespaces only the labels of workloads say to which team an app belongs".into()
        }
        Resource::Engine(kind) => format!("without {resource} nothing that {} does is known", kind.engine()),
        Resource::Events => "without events the time of image pulls, and why one fails, are unknown".into(),
    }
}
