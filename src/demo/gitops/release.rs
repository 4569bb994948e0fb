//! The app that a chart makes where Flux is the engine: what stands in git is a HelmRelease with a tag among its values,
//! and the repository of the image is the chart's.

use serde_json::json;

use super::{App, Setup};
use crate::demo::flux;

/// Where the chart is in the registry, and its version.
pub(in crate::demo) const CHART_REPOSITORY: &str = "charts/cart";
pub(in crate::demo) const CHART_VERSION: &str = "0.1.0";

/// The manifest of one environment: the chart has all the rest.
pub(super) fn manifest(app: &App, environment: &str, tag: &str, setup: Setup) -> String {
    let App { name, replicas } = app;
    let deadline = setup.progress_deadline_seconds;
    let marker = flux::tag_marker(name);
    let (charts, namespace) = (flux::CHARTS, flux::NAMESPACE);
    let (every, timeout) = (flux::print(setup.intervals.kustomization), flux::print(setup.intervals.health));
    let chart_every = flux::print(2 * setup.intervals.kustomization);
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {name}
  namespace: {environment}
spec:
  interval: {every}
  timeout: {timeout}
  releaseName: {name}
  chart:
    spec:
      chart: {name}
      version: 0.x
      interval: {chart_every}
      sourceRef:
        kind: HelmRepository
        name: {charts}
        namespace: {namespace}
  values:
    image:
      tag: {tag} {marker}
    replicas: {replicas}
    progressDeadlineSeconds: {deadline}
"
    )
}

/// The chart's files, by path.
pub(in crate::demo) fn chart(app: &App, registry: &str) -> Vec<(String, String)> {
    let name = app.name;
    let about = json!({"apiVersion": "v2", "name": name, "version": CHART_VERSION, "appVersion": "1"});
    let repository = app.repository();
    let values = format!("image:\n  repository: {registry}/{repository}\n  tag: \"\"\nreplicas: 1\n");
    let template = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  progressDeadlineSeconds: {{ .Values.progressDeadlineSeconds }}
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ .Release.Name }}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {{ .Release.Name }}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: {{ .Release.Name }}
          image: {{ .Values.image.repository }}:{{ .Values.image.tag }}
          ports:
            - containerPort: 8080
          envFrom:
            - configMapRef:
                name: {{ .Release.Name }}-settings
          readinessProbe:
            httpGet:
              path: /ready
              port: 8080
            periodSeconds: 1
";
    [
        ("Chart.yaml", about.to_string()),
        ("values.yaml", values),
        ("templates/deployment.yaml", template.to_owned()),
    ]
    .into_iter()
    .map(|(file, text)| (format!("{name}/{file}"), text))
    .collect()
}
