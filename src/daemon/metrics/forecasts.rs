//! What came of forecasts.

use crate::api::exposition::{Exposition, Family};
use crate::base::Timestamp;
use crate::daemon::forecaster::Standing;

/// Writes all of it.
pub(super) fn write(standing: &Standing, now: Timestamp, out: &mut Exposition) {
    let score = &standing.score;
    let help = "Whether forecasts are made: 1 if the forecaster looked in the last two minutes. Without \
                them shadows are held by `ready` alone.";
    let looked = standing.looked.is_some_and(|at| now.since(at).0 < 120_000);
    out.family(Family::gauge("foreshadow_forecast_up", help));
    out.count(&[], u64::from(looked));
    let mut count = |name, help, value| {
        out.family(Family::counter(name, help));
        out.count(&[], value);
    };
    count("foreshadow_forecast_failures", "Times that the forecaster failed.", standing.failed);
    let help =
        "Forecasts for which the share of the CPU that `forecast.cpu` grants was too little.";
    count("foreshadow_forecast_late", help, standing.late);
    count("foreshadow_forecast_told", "Forecasts that shadows were held by.", standing.told);
    let help = "Forecasts that did not count, as somebody else's prediction stood or the account is \
                not to have any.";
    count("foreshadow_forecast_untold", help, standing.untold);
    let help = "Periods of accounts and applications of which was known what came of a forecast.";
    count("foreshadow_forecast_periods", help, score.periods);
    let help = "Of these, such whose instances were between the 10 % and the 90 % quantile.";
    count("foreshadow_forecast_inside", help, score.inside);
    count("foreshadow_forecast_creates", "Instances that came in them.", score.creates);
    let help = "Of these, such that find an address if forecasts are followed.";
    count("foreshadow_forecast_hits", help, score.did.hits);
    let help = "Addresses that are held for nobody if forecasts are followed.";
    count("foreshadow_forecast_wasted", help, score.did.wasted);
    let help = "Hits of the best fixed pool in hindsight that has no more idle addresses; it changes \
                its size as hindsight does.";
    let mut gauge = |name, help, value| {
        out.family(Family::gauge(name, help));
        out.value(&[], value);
    };
    gauge("foreshadow_forecast_fixed_hits", help, standing.fixed.1.did.hits as f64);
    let help = "The size of that pool.";
    gauge("foreshadow_forecast_fixed_size", help, standing.fixed.0 as f64);
    let help =
        "Idle addresses of each account and application, on average, if forecasts are followed.";
    gauge("foreshadow_forecast_idle", help, score.idle());
    let help = "Accounts and applications on networks that have a history.";
    gauge("foreshadow_forecast_histories", help, standing.histories as f64);
    out.family(Family::counter("foreshadow_forecast_seconds", "Time spent on forecasts."));
    out.value(&[], standing.spent.as_secs_f64());
}
