//! Our own logs and traces: one line per record, and spans of our own work to where journeys' traces go.

use std::io::{self, Write};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::exporters::traces::otlp::{self, OtlpError};

/// How a log record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Why logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The collector's address does not work.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// Somebody has set up logging before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Keeps the way to the collector open; what is under way is sent by [`Telemetry::finish`].
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up the whole process: records to standard error, spans to `endpoint` where one is given. `filter`
    /// says what is logged, such as `info` or `knotmeter=debug`.
    pub fn init(
        filter: &str,
        format: LogFormat,
        endpoint: Option<&str>,
        runtime: Handle,
    ) -> Result<Self, TelemetryError> {
        let provider = endpoint.map(|endpoint| provider(endpoint, runtime)).transpose()?;
        tracing::subscriber::set_global_default(subscriber(filter, format, provider.as_ref(), io::stderr))?;
        Ok(Self { provider })
    }

    /// Sends what waits. Blocks for some seconds at most: call it where blocking is allowed.
    pub fn finish(self) {
        if let Some(Err(error)) = self.provider.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last spans of our own work were not sent");
        }
    }
}

/// A provider whose batches go to the endpoint.
pub fn provider(endpoint: &str, runtime: Handle) -> Result<SdkTracerProvider, OtlpError> {
    let exporter = otlp::exporter(endpoint, runtime)?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(otlp::resource()).build())
}

/// What [`Telemetry::init`] installs, for any writer.
pub fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    provider: Option<&SdkTracerProvider>,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().with_default_directive(Level::INFO.into()).parse_lossy(filter);
    // Where nobody takes the records any more the program goes on without: the layer's own complaint would panic.
    let records = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let records = records.with_writer(OneLine { writer, format }).with_ansi(false);
    let records = match format {
        LogFormat::Text => records.boxed(),
        LogFormat::Json => records.json().flatten_event(true).boxed(),
    };
    // Our own spans only: those of the client that sends them would breed more of themselves.
    let ours = Targets::new().with_target("knotmeter", Level::DEBUG);
    let spans = provider.map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("knotmeter")).with_filter(ours)
    });
    registry().with(records.with_filter(filter)).with(spans)
}

/// A writer that keeps each record on one line: nothing that a registry or a manifest says can forge a second.
struct OneLine<W> {
    writer: W,
    format: LogFormat,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine { writer: self.writer.make_writer(), format: self.format }
    }
}

impl<W: Write> Write for OneLine<W> {
    /// One call is one record: the layer formats it whole before it writes.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(line.len() + 1);
        for character in line.chars() {
            if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
                match self.format {
                    LogFormat::Text => escaped.extend(character.escape_default()),
                    // All of these have four digits at most, and stand inside JSON texts only.
                    LogFormat::Json => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
                }
            } else {
                escaped.push(character);
            }
        }
        escaped.push('\n');
        self.writer.write_all(escaped.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
