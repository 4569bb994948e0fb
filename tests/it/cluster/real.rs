//! The loop against a real API server, where `KUBEBUILDER_ASSETS` names a folder with `etcd` and `kube-apiserver`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use knotmeter::observation::{Basis, Fact, Observation, Subject};
use knotmeter::observers::cluster::{Access, Pace, Resource, check_with};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::watching::{Observer, config};

const TOKEN: &str = "a-token-of-this-test-only";
/// An API server has answered within seconds, or it never will.
const START_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_is_listed_and_watched() {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!(
            "cluster: KUBEBUILDER_ASSETS not set, used recorded streams and a small API server of our own"
        );
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start(&assets).await;
    let client = server.client();
    let report = check_with(&config(), client.clone()).await.unwrap();
    assert!(report.resources.iter().all(|(_, access)| *access == Access::Allowed), "{report:?}");
    println!("cluster: watched kube-apiserver {}", report.server_version);

    let mut observer = Observer::start(client.clone(), Pace::default());
    observer.looked_at(Resource::Deployments).await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}}},
    });
    send(&client, "POST", path, deployment.to_string()).await;
    let is_web = |o: &Observation| matches!(&o.fact, Fact::WorkloadIs(w) if &*w.key.name == "web");
    let seen = observer.wait("the deployment", is_web).await;
    let Fact::WorkloadIs(workload) = &seen.fact else { unreachable!() };
    assert_eq!((seen.basis, &*workload.containers[0].image), (Basis::Watch, "registry.example/web:1"));
    assert!(workload.template_written.is_some(), "{workload:?}");
    assert_eq!(seen.cluster.as_deref(), Some(&*report.uid));

    send(&client, "DELETE", &format!("{path}/web"), String::new()).await;
    let uid = workload.uid.clone();
    let gone = |o: &Observation| matches!(&o.fact, Fact::Absent { subject: Subject::Workload { uid: of, .. } } if *of == uid);
    observer.wait("its end", gone).await;
}

async fn send(client: &kube::Client, method: &str, path: &str, body: String) {
    let request =
        http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    client.request_text(request.body(body.into_bytes()).unwrap()).await.unwrap();
}

/// etcd and kube-apiserver on loopback, ended with the test.
struct Server {
    children: Vec<Child>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    async fn start(assets: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, etcd, peer] = free_ports();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("tokens.csv"), format!("{TOKEN},test,test,system:masters\n")).unwrap();
        let keys = Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-out",
                &path("sa.key"),
            ])
            .stderr(Stdio::null())
            .status();
        assert!(keys.is_ok_and(|status| status.success()), "openssl makes the key of the service accounts");
        let client_url = format!("http://127.0.0.1:{etcd}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let start = |program: &str, arguments: &[String]| {
            let log = std::fs::File::create(path(&format!("{program}.log"))).unwrap();
            let mut command = Command::new(assets.join(program));
            command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
            command.spawn().unwrap_or_else(|why| panic!("{program} of KUBEBUILDER_ASSETS: {why}"))
        };
        let etcd = start(
            "etcd",
            &[
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls={client_url}"),
                format!("--advertise-client-urls={client_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=default={peer_url}"),
            ],
        );
        let apiserver = start(
            "kube-apiserver",
            &[
                format!("--etcd-servers={client_url}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", path("certs")),
                format!("--token-auth-file={}", path("tokens.csv")),
                "--service-cluster-ip-range=10.96.0.0/24".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                format!("--service-account-key-file={}", path("sa.key")),
                format!("--service-account-signing-key-file={}", path("sa.key")),
                "--authorization-mode=RBAC".into(),
                "--disable-admission-plugins=ServiceAccount".into(),
            ],
        );
        let server = Self { children: vec![etcd, apiserver], folder, port };
        server.wait_until_ready().await;
        server
    }

    async fn wait_until_ready(&self) {
        let client = self.client();
        let began = Instant::now();
        let path = "/api/v1/namespaces/kube-system";
        while client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await.is_err() {
            let log = self.folder.path().join("kube-apiserver.log");
            assert!(
                began.elapsed() < START_MAX,
                "kube-apiserver is not ready: {}",
                std::fs::read_to_string(log).unwrap_or_default()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn client(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("https://127.0.0.1:{}", self.port).parse().unwrap());
        config.accept_invalid_certs = true;
        config.default_retry = false;
        config.auth_info.token = Some(TOKEN.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }
}

/// Three ports that were free a moment ago: all three are held until the last is known.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
