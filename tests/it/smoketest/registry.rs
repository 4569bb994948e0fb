//! A real registry on a loopback port, ended with the test.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// It starts in well under a second; a loaded machine may need some.
const START_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Registry {
    pub host: String,
    process: Child,
    _folder: TempDir,
}

impl Registry {
    /// Starts Debian's registry, empty, with a login or without.
    pub async fn start(login: Option<(&str, &str)>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: \"{host}\"}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n",
            path("data")
        );
        if let Some((user, password)) = login {
            let line = Command::new("htpasswd").args(["-Bbn", user, password]).output();
            let line = line.expect("htpasswd runs: apt-get install apache2-utils").stdout;
            std::fs::write(path("htpasswd"), line).expect("written");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
        }
        std::fs::write(path("config.yml"), config).expect("written");
        let process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs: apt-get install docker-registry");
        let registry = Self { host, process, _folder: folder };
        let up = async {
            while reqwest::get(format!("http://{}/v2/", registry.host)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START_TIMEOUT, up).await.expect("docker-registry listens");
        registry
    }

    /// The bytes of the manifest that a tag points to.
    pub async fn manifest(&self, tag: &str) -> Vec<u8> {
        let url = format!("http://{}/v2/team/canary/manifests/{tag}", self.host);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let answer =
            reqwest::Client::new().get(url).header("Accept", media_type).send().await.expect("an answer");
        assert_eq!(answer.headers()["Content-Type"], media_type);
        answer.bytes().await.expect("a body").to_vec()
    }

    /// The tags of the repository; none where nothing was ever pushed.
    pub async fn tags(&self) -> Vec<String> {
        let answer =
            reqwest::get(format!("http://{}/v2/team/canary/tags/list", self.host)).await.expect("an answer");
        let list: serde_json::Value = answer.json().await.expect("JSON");
        list["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tag| tag.as_str().expect("text").to_owned())
            .collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
