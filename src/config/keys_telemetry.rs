//! The keys of `[telemetry]` and `[[scrape]]`; see [`schema`](super::schema).

use super::keys::key;
use super::schema::{REQUIRED, Section};

pub(super) static TELEMETRY: Section = Section {
    path: "telemetry",
    header: "[telemetry]",
    about: "What instances report, and how long it is kept: every point, then buckets with count, sum, least, greatest and last value.",
    settings: false,
    keys: &[
        key(
            "raw",
            "\"6h\"",
            "\"6h\"",
            "How long every point is kept, 2 h to 31 days; at least an hour more than `past`.",
        ),
        key(
            "five_minutes",
            "\"14d\"",
            "\"14d\"",
            "How long buckets of five minutes are kept, 2 days to 10 years.",
        ),
        key(
            "hourly",
            "\"400d\"",
            "\"400d\"",
            "How long buckets of an hour, and events that are over, are kept; 2 days to 10 years.",
        ),
        key(
            "max_size",
            "\"4GiB\"",
            "\"4GiB\"",
            "Most that it may take on disk, from 128 MiB; past it, what is nearest to the end of its time goes.",
        ),
        key("past", "\"1h\"", "\"1h\"", "How old a point may be when it comes, 1 min to 30 days."),
        key(
            "future",
            "\"5m\"",
            "\"5m\"",
            "How far ahead of the server's clock a point may be, 1 s to 1 h.",
        ),
        key(
            "series",
            "100000",
            "100000",
            "Most series (a metric of an instance) at once; one without a point for a day makes room.",
        ),
        key("series_per_instance", "64", "64", "Most series of one instance."),
        key("series_per_account", "50000", "50000", "Most series of one account."),
        key("body", "\"64MiB\"", "\"64MiB\"", "Largest body of one request, 1 MiB to 4 GiB."),
    ],
};

pub(super) static SCRAPE: Section = Section {
    path: "scrape",
    header: "[[scrape]]",
    about: "A target in the text format of Prometheus: an exporter, or the federation endpoint of a Prometheus.",
    settings: false,
    keys: &[
        key("name", "\"hosts\"", REQUIRED, "What status and log call it."),
        key(
            "url",
            "\"http://10.0.0.7:9100/metrics\"",
            REQUIRED,
            "Where it is, by http or https; `/metrics` where it names no path.",
        ),
        key(
            "match",
            "[\"{job=\\\"node\\\"}\"]",
            "none",
            "What a federation endpoint (`/federate`) is asked for, as its `match[]`.",
        ),
        key("interval", "\"30s\"", "\"30s\"", "From one scrape to the next, 1 s to 1 h."),
        key("timeout", "\"10s\"", "\"10s\"", "How long one may take; not longer than `interval`."),
        key(
            "bearer_token_file",
            "\"/path\"",
            "none",
            "A file with a bearer token, read at each scrape.",
        ),
        key(
            "basic_auth_file",
            "\"/path\"",
            "none",
            "A file with `user:password`, read at each scrape.",
        ),
        key(
            "ca_file",
            "\"/path\"",
            "the system's",
            "Certificates in PEM that sign the target's, in place of the system's.",
        ),
        key(
            "instance_label",
            "\"instance\"",
            "\"instance\"",
            "The label that names the instance; a port at its end is left out.",
        ),
        key(
            "instance",
            "\"vm-7\"",
            "the host of `url`",
            "The instance of samples without that label.",
        ),
        key("account_label", "\"tenant\"", "none", "The label that names the account."),
        key("account", "\"acme\"", "none", "The account of samples without that label."),
        key("application_label", "\"job\"", "none", "The label that names the application."),
        key("application", "\"web\"", "none", "The application of samples without that label."),
        key("samples_max", "50000", "50000", "A scrape with more samples is refused."),
        key("body_max", "\"16MiB\"", "\"16MiB\"", "A scrape with a larger body is refused."),
        key(
            "metric",
            "tables",
            "those of node-exporter",
            "What is taken, one `[[scrape.metric]]` each.",
        ),
    ],
};

pub(super) static SCRAPE_METRIC: Section = Section {
    path: "scrape.metric",
    header: "[[scrape.metric]]",
    about: "A metric that is taken. Of several samples of one instance, such as those of each device, the sum is.",
    settings: false,
    keys: &[
        key("from", "\"node_load1\"", REQUIRED, "Its name at the target."),
        key("as", "\"load\"", "as at the target", "Its name here."),
        key(
            "rate",
            "true or false",
            "false",
            "Whether it is a counter, whose rate a second is taken. A counter that begins anew counts from 0.",
        ),
        key(
            "only",
            "{ mode = \"!idle\" }",
            "{}",
            "Labels and the values that they must have; `!` before one stands for all others.",
        ),
        key("minus", "\"node_memory_MemAvailable_bytes\"", "none", "A metric that is taken off."),
    ],
};
