//! `knotmeter smoketest`: a synthetic image down the real path, and the verdict on its journey.

use super::args::{Output, SmoketestArgs, SmoketestCommand, SmoketestRunArgs};
use super::{Exit, out};
use crate::smoketest::{self, Credentials, Options, report};

/// The password never stands on a command line, where every process can read it.
const PASSWORD_VARIABLE: &str = "KNOTMETER_SMOKETEST_PASSWORD";

/// Runs the command.
pub async fn run(args: SmoketestArgs) -> anyhow::Result<Exit> {
    match args.command {
        SmoketestCommand::Run(args) => push_and_follow(args).await,
    }
}

async fn push_and_follow(args: SmoketestRunArgs) -> anyhow::Result<Exit> {
    let credentials = match args.user {
        Some(user) => {
            Credentials::Basic { user, password: std::env::var(PASSWORD_VARIABLE).unwrap_or_default() }
        }
        None => Credentials::DockerConfig,
    };
    let options = Options {
        server: args.server,
        repository: args.repository.parse()?,
        tag: args.tag.as_deref().map(str::parse).transpose()?,
        tag_prefix: args.tag_prefix,
        plain_http: args.plain_http,
        credentials,
        environments: args.environment,
        timeout: args.timeout.duration(),
    };
    out::remark(format_args!("pushing a synthetic image to {} and following it", options.repository));
    let verdict = smoketest::run(options).await;
    match args.output {
        Output::Json => out::json(&verdict)?,
        Output::Yaml => out::yaml(&verdict)?,
        Output::Table | Output::Wide => out::text(report::table(&verdict))?,
    }
    Ok(match verdict.exit_code() {
        0 => Exit::Done,
        1 => Exit::Failed,
        2 => Exit::TimedOut,
        3 => Exit::CannotAsk,
        4 => Exit::Held,
        _ => Exit::Other,
    })
}
