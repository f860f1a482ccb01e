//! The running server: what drives the engine, and what surrounds it on a host.
//!
//! [`serve`] puts it together. [`driver`] is the thread that answers packets, no more of anybody
//! than [`police`] lets through; [`links`] follows the interfaces for it ([`forwarding`] asks what
//! the kernel does on them), [`outgoing`] sends, [`committer`] is the thread that writes (by its
//! [`writer`]), [`parked`] what waits for it, [`lag`] for how long, and [`work`] how the control
//! plane asks, answered at the [`desk`]. [`clock`] is the only place that reads clocks. Around
//! them: [`log`] tells people, [`hosts`] a DNS server, [`routes`] the kernel (its [`route_table`]),
//! [`notify`] systemd; [`reload`] puts a changed configuration in force, [`reports`] keeps telemetry,
//! [`upkeep`] does what is due once in a while (and has telemetry [`weigh`]ed), [`mod@reconcile`]
//! watches networks for conflicts, [`mod@forecaster`] foresees who will come, [`privilege`] gives up
//! what is not needed.

pub mod agent;
pub mod clock;
pub mod committer;
pub mod counters;
pub mod desk;
pub mod driver;
mod forecaster;
pub mod forwarding;
mod guard;
mod hooks;
pub mod hosts;
pub mod identity;
pub mod lag;
pub mod lines;
pub mod links;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod notify;
pub mod outgoing;
pub mod parked;
pub mod police;
mod pools;
pub mod privilege;
mod receive;
mod reconcile;
pub mod reload;
mod reports;
pub mod route_table;
pub mod routes;
pub mod serve;
pub mod served;
pub mod switch;
mod teller;
pub mod telling;
mod upkeep;
mod weigh;
pub mod work;
pub mod writer;
