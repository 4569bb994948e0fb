//! Which of the two text formats a scraper asks for: OpenMetrics, or Prometheus' classic 0.0.4.

/// In which of the two text formats a scrape is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// With exemplars.
    OpenMetrics,
    /// What Prometheus has always read.
    Classic,
}

impl Format {
    /// The format that a scraper's `Accept` header asks for.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let quality = |kind: &str| {
            let offers = header.split(',').map(str::trim).filter(|offer| offer.starts_with(kind));
            let weight = |offer: &str| {
                let quality = offer.split(';').find_map(|part| part.trim().strip_prefix("q="));
                quality.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0))
            };
            offers.map(weight).fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Classic }
    }

    /// For the answer's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}
