//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Seconds;
use crate::demo::{Engine, Fault};
use crate::telemetry::LogFormat;

/// Tells how fast an image sails from push to live, and where it is stuck.
#[derive(Debug, Parser)]
#[command(
    name = "knotmeter",
    version,
    after_help = "Exit codes, for every command: 0 live or done, 1 failed, 2 timed out, 3 cannot ask, 4 held, 5 any other ending, 64 usage, 141 nobody reads the output any more.\nTry `knotmeter demo` first: it needs nothing but git."
)]
pub struct Knotmeter {
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch registries, git and clusters; serve the page, the API and the metrics
    Run(RunArgs),
    /// Show it all on this machine: a registry, git, a Kubernetes API and images on their way
    Demo(DemoArgs),
    /// List journeys of a running instance
    Status(StatusArgs),
    /// Say where an image, commit, app or workload is, and why it is not live
    Why(WhyArgs),
    /// Wait until an image is live
    Wait(WaitArgs),
    /// Scan repositories once and say what it took
    Scan(ScanArgs),
    /// Check every source: reachable, allowed, blind, and what to do
    Check(CheckArgs),
    /// Check, describe or show the configuration
    Config(ConfigureArgs),
    /// Send a synthetic image down the real path
    Smoketest(SmoketestArgs),
    /// Print the journeys that come of a journal, an export or a bundle
    Replay(ReplayArgs),
    /// Write what was observed of one journey into a file that anybody can replay
    Bundle(BundleArgs),
    /// Take observations out of a journal, or into one
    Journal(JournalArgs),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML); none is needed in a cluster
    #[arg(short, long, env = "KNOTMETER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the page, the API and /metrics; overrides the file
    #[arg(long, env = "KNOTMETER_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// OTLP collector, such as http://127.0.0.1:4318/v1/traces; overrides the file
    #[arg(long, env = "KNOTMETER_TRACES_ENDPOINT", value_name = "URL")]
    pub traces_endpoint: Option<String>,
    /// File that remembers what was observed over a restart; overrides the file
    #[arg(long, env = "KNOTMETER_JOURNAL", value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

/// `knotmeter run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Folder for copies of git repositories; default: below the system's temporary folder
    #[arg(long, env = "KNOTMETER_CACHE", value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// How log records are written
    #[arg(long, env = "KNOTMETER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, such as info or knotmeter=debug
    #[arg(long, env = "KNOTMETER_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

/// `knotmeter demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address of the page, the API and /metrics
    #[arg(long, default_value = "127.0.0.1:9871", value_name = "HOST:PORT")]
    pub listen: String,
    /// Who brings images from the registry to the cluster: plain or flux
    #[arg(long, default_value_t = Engine::Plain, value_name = "NAME", value_parser = engine)]
    pub engine: Engine,
    /// Something that goes wrong from the start; may be given several times
    #[arg(long, value_name = "NAME", value_parser = fault)]
    pub fault: Vec<Fault>,
    /// List the faults and end
    #[arg(long)]
    pub list_faults: bool,
    /// End after this many settled journeys, given by --journeys
    #[arg(long)]
    pub once: bool,
    /// How many settled journeys --once waits for
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub journeys: usize,
    /// End after this long, however many journeys have settled
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub timeout: Option<Seconds>,
    /// How settled journeys are printed
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Write the addresses as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub info: Option<PathBuf>,
    /// Time between two pushes of the demo's developer; 0s: nobody pushes
    #[arg(long, default_value = "3s", value_parser = seconds, value_name = "DURATION")]
    pub push_every: Seconds,
    /// The same seed gives the same order of pushes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// OTLP collector for traces
    #[arg(long, env = "KNOTMETER_TRACES_ENDPOINT", value_name = "URL")]
    pub traces_endpoint: Option<String>,
    /// What is logged to standard error, such as info or knotmeter=debug
    #[arg(long, env = "KNOTMETER_LOG", default_value = "error", value_name = "FILTER")]
    pub log: String,
}

/// How a running instance is asked.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of a running instance
    #[arg(long, env = "KNOTMETER_SERVER", default_value = "http://127.0.0.1:9871", value_name = "URL")]
    pub server: String,
    /// Ask the instance inside a cluster instead, through this context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig for --context
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace and name of the service inside the cluster
    #[arg(long, default_value = "knotmeter/knotmeter", value_name = "NAMESPACE/NAME")]
    pub service: String,
}

/// Which namespaces, as kubectl has it; all of them without -n.
#[derive(Debug, Clone, Args)]
pub struct NamespaceArgs {
    /// Only this namespace
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// All namespaces (the default)
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// `knotmeter status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// Only this app
    #[arg(long)]
    pub app: Option<String>,
    /// Only this environment
    #[arg(long)]
    pub environment: Option<String>,
    /// Only journeys under way
    #[arg(long)]
    pub open: bool,
    /// How many, newest first
    #[arg(long, default_value_t = 30)]
    pub limit: usize,
    /// Keep watching, a line for each change
    #[arg(short, long)]
    pub watch: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// An image, digest, commit, app, or a workload such as deployment/web
    pub question: String,
    /// What was true then: a time such as 2026-11-21T12:00:00Z, a time of day in UTC such as 12:00:48, or how long ago,
    /// such as 10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<String>,
    /// Ask a journal that no running instance has open, and no instance
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "context"])]
    pub journal: Option<PathBuf>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter wait`
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The image, as the workload names it, or its digest
    pub image: String,
    /// The environment in which it should be live; any where absent
    #[arg(long)]
    pub environment: Option<String>,
    #[arg(long, default_value = "15m", value_parser = seconds, value_name = "DURATION")]
    pub timeout: Seconds,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
}

/// `knotmeter check`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all that is named can be read, 1 something cannot or is not allowed, 3 nothing can be read."
)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter scan`
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Repositories, such as ghcr.io/team/web
    #[arg(required = true, value_name = "REPOSITORY")]
    pub repositories: Vec<String>,
    /// Speak http, not https
    #[arg(long)]
    pub plain_http: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter config`
#[derive(Debug, Args)]
pub struct ConfigureArgs {
    #[command(subcommand)]
    pub command: ConfigureCommand,
}

/// The commands of `knotmeter config`.
#[derive(Debug, Subcommand)]
pub enum ConfigureCommand {
    /// Read the configuration and say what is wrong with it, and how many series it leads to
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Apps in each environment, for the estimate of series
        #[arg(long, default_value_t = 20, value_name = "N")]
        apps: usize,
    },
    /// Print the JSON Schema, for editors
    Schema,
    /// Print the configuration in force, defaults included
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
        output: Output,
    },
}

/// `knotmeter smoketest`
#[derive(Debug, Args)]
pub struct SmoketestArgs {
    #[command(subcommand)]
    pub command: SmoketestCommand,
}

/// The commands of `knotmeter smoketest`.
#[derive(Debug, Subcommand)]
pub enum SmoketestCommand {
    /// Push a synthetic image and follow it to live
    Run(SmoketestRunArgs),
}

/// `knotmeter smoketest run`
#[derive(Debug, Args)]
pub struct SmoketestRunArgs {
    /// The repository that takes synthetic images, such as registry.example/team/canary
    #[arg(long, env = "KNOTMETER_SMOKETEST_REPOSITORY")]
    pub repository: String,
    /// The tag to push; made from --tag-prefix and the time where absent
    #[arg(long)]
    pub tag: Option<String>,
    /// Start of a made tag
    #[arg(long, default_value = "v0.0.")]
    pub tag_prefix: String,
    /// Environments in which it must become live; one journey is enough where none is named
    #[arg(long, value_name = "NAME")]
    pub environment: Vec<String>,
    /// Speak http to the registry, not https
    #[arg(long)]
    pub plain_http: bool,
    /// User name for the registry; the password comes from KNOTMETER_SMOKETEST_PASSWORD
    #[arg(long, env = "KNOTMETER_SMOKETEST_USER")]
    pub user: Option<String>,
    #[arg(long, default_value = "15m", value_parser = seconds, value_name = "DURATION")]
    pub timeout: Seconds,
    /// Address of a running instance
    #[arg(long, env = "KNOTMETER_SERVER", default_value = "http://127.0.0.1:9871", value_name = "URL")]
    pub server: String,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A journal that no running instance has open, or JSON lines; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only this journey
    #[arg(long, value_name = "ID")]
    pub journey: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `knotmeter bundle`
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// Its id, as `status -o wide` and the page show it
    #[arg(value_name = "JOURNEY")]
    pub journey: String,
    /// Replace the names of hosts and people by made-up ones, and leave out what they wrote
    #[arg(long)]
    pub redact: bool,
    /// Folder for the two files, JSON lines and Markdown
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub into: PathBuf,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `knotmeter journal`
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    pub command: JournalCommand,
}

/// The commands of `knotmeter journal`. The journal must not be open elsewhere.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Print every observation as a line of JSON
    Export {
        #[arg(value_name = "JOURNAL")]
        journal: PathBuf,
    },
    /// Append observations from JSON lines on standard input
    Import {
        #[arg(value_name = "JOURNAL")]
        journal: PathBuf,
    },
}

/// How answers are printed, as kubectl has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Wide,
    Json,
    Yaml,
}

fn seconds(text: &str) -> Result<Seconds, String> {
    if text == "0" {
        return Ok(Seconds(0.0));
    }
    Seconds::parse(text).ok_or_else(|| "write a number and a unit of ms, s, m, h, d, such as 30s".into())
}

fn fault(text: &str) -> Result<Fault, String> {
    text.parse::<Fault>().map_err(|error| error.to_string())
}

fn engine(text: &str) -> Result<Engine, String> {
    text.parse::<Engine>().map_err(|error| error.to_string())
}
