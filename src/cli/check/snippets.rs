//! What a person pastes. Paths are those of `deploy/kubernetes`.

/// A login for a registry: the secret, and nothing else where the Deployment of `deploy/kubernetes` mounts it.
pub fn pull_secret(host: &str) -> String {
    let server = if host == "docker.io" { "https://index.docker.io/v1/" } else { host };
    format!(
        "kubectl -n knotmeter create secret docker-registry knotmeter-registries \\\n  \
         --docker-server={server} --docker-username=USER --docker-password=TOKEN"
    )
}

/// A registry that is allowed to be where it is.
pub fn registry(host: &str) -> String {
    format!("registries:\n  - host: \"{host}\"\n")
}

/// The authority of a registry.
pub fn registry_ca(host: &str) -> String {
    format!("registries:\n  - host: \"{host}\"\n    tls: {{ca_file: /etc/knotmeter/ca.pem}}\n")
}

/// A git repository, where none is named.
pub fn git() -> String {
    "git:\n  - url: https://git.example.com/team/fleet.git\n    token_file: /etc/knotmeter-git/token\n    \
     branches: [main]\n    paths: [{path: prod/, environment: prod}]\n"
        .into()
}

/// A key of an entry of `git`.
pub fn git_key(url: &str, key: &str, value: &str) -> String {
    format!("git:\n  - url: {url}\n    {key}: {value}\n")
}

/// A cluster by its kubeconfig.
pub fn cluster(name: &str) -> String {
    format!("clusters:\n  - name: {name}\n    kubeconfig: /etc/knotmeter/kubeconfig\n    context: {name}\n")
}

/// Memory over a restart.
pub fn journal() -> String {
    "journal: {path: /var/lib/knotmeter/journal}\n".into()
}
