//! What may be typed to look ahead without a server.

/// `forecast`.
#[derive(Debug, clap::Args)]
pub struct Forecast {
    /// Answer a request on each line, as they come, instead of one
    #[arg(long)]
    pub jsonl: bool,
}

/// `anomaly`.
#[derive(Debug, clap::Args)]
pub struct Anomaly {
    /// Answer a request on each line, as they come, instead of one
    #[arg(long)]
    pub jsonl: bool,
}
