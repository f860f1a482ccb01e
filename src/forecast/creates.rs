//! How many instances the accounts of a fleet start: one model for all of them.
//!
//! A single account creates too seldom to learn from, so all accounts teach one regression, and
//! what it says is turned into a distribution by what came of the moments of any account for which
//! it said the like. What was announced is kept out of that and added again, with the turnout that
//! announcements have had.

use std::collections::BTreeMap;

use crate::base::{Span, Timestamp};

use super::calendar::{FEATURES, Past};
use super::plan::{Plan, Turnout};
use super::residual::quantile;
use super::solve::{Square, dot, inner, ridge};

/// The most accounts that are remembered; of more, the one least recently asked about goes.
pub const ACCOUNTS_MAX: usize = 10_000;
/// The most periods of an account that are remembered.
pub const PERIODS_MAX: usize = 2_688;
/// The most lengths of periods that are told apart; of more, all are learnt anew.
const MODELS_MAX: usize = 8;
const DAY_S: i64 = 86_400;
/// After so many questions about each account a model is fitted anew.
const QUESTIONS: u64 = 300;
/// The most moments that a model is fitted to.
const ROWS_MAX: usize = 60_000;
/// Moments of the like that make a distribution, and among how many they are looked for.
const LIKE: usize = 250;
const WIDE: usize = 6_000;
/// Moments farther than this are not like, if nearer ones are not too few.
const NEAR: f32 = 0.5;
const LIKE_MIN: usize = 10;
/// How much farther a moment of another account is.
const OTHER_ACCOUNT: f32 = 0.4;
/// Weight of coefficients in the fit, in moments.
const PENALTY: f64 = 10.0;

/// A question about one account.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose creates.
    pub account: &'a str,
    /// When the first period began.
    pub start: Timestamp,
    /// How long a period is.
    pub step: Span,
    /// Creates by period, the oldest first; what is not finite is missing.
    pub history: &'a [f64],
    /// How many periods ahead.
    pub horizon: usize,
    /// Which quantiles, each from 0 to 1.
    pub quantiles: &'a [f64],
    /// What is announced, and what was.
    pub plans: &'a [Plan],
}

/// What is known of a fleet: the histories of its accounts, and the model they share.
#[derive(Debug, Default)]
pub struct Fleet {
    accounts: BTreeMap<String, Account>,
    /// By how many seconds a period has: what is learnt from one length is not true of another.
    models: BTreeMap<i64, Model>,
    numbers: u32,
    asked: u64,
}

#[derive(Debug)]
struct Account {
    past: Past,
    /// The same without what was announced, if anything was.
    usual: Option<Past>,
    plans: Vec<Plan>,
    /// Its number; never that of another.
    number: u32,
    /// When it was asked about last.
    asked: u64,
}

impl Fleet {
    /// A fleet of which nothing is known.
    pub fn new() -> Fleet {
        Fleet::default()
    }

    /// By quantile, as asked, the creates of each period ahead. Learns the history that comes
    /// with the question.
    pub fn forecast(&mut self, asked: &Asked<'_>) -> Vec<Vec<f64>> {
        self.learn(asked);
        let Some(account) = self.accounts.get(asked.account) else {
            return vec![vec![0.0; asked.horizon]; asked.quantiles.len()];
        };
        let (step_s, now) = (account.past.step_s, account.past.end_s());
        let known = self.accounts.len();
        if self.models.get(&step_s).is_none_or(|model| model.is_old(now, known, self.asked)) {
            let model = Model::fit(&self.accounts, step_s, self.asked);
            if self.models.len() >= MODELS_MAX {
                self.models.clear();
            }
            self.models.insert(step_s, model);
        }
        let mut rows = vec![Vec::with_capacity(asked.horizon); asked.quantiles.len()];
        let Some(model) = self.models.get(&step_s) else { return rows };
        let mut past = account.past.clone();
        let mut usual = account.usual.clone().unwrap_or_else(|| past.clone());
        for _ in 0..asked.horizon {
            let (values, mean) = model.distribution(&past, &usual, &account.plans, account.number);
            for (row, &wanted) in rows.iter_mut().zip(asked.quantiles) {
                row.push(quantile(&values, wanted).max(0.0));
            }
            // Further ahead, what is expected stands for what is not known yet.
            past.push(mean);
            usual.push(mean);
        }
        rows
    }

    fn learn(&mut self, asked: &Asked<'_>) {
        self.asked += 1;
        let Some(past) = Past::new(asked.start, asked.step, asked.history) else {
            self.accounts.remove(asked.account);
            return;
        };
        if let Some(account) = self.accounts.get_mut(asked.account) {
            account.past.take(past);
            account.asked = self.asked;
            Plan::merge(&mut account.plans, asked.plans);
            account.usual = Plan::without(&account.plans, &account.past);
            return;
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            let oldest = self.accounts.iter().min_by_key(|(_, account)| account.asked);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.accounts.remove(&name);
            }
        }
        let mut plans = Vec::new();
        Plan::merge(&mut plans, asked.plans);
        self.numbers += 1;
        let usual = Plan::without(&plans, &past);
        let account = Account { past, usual, plans, number: self.numbers, asked: self.asked };
        self.accounts.insert(asked.account.to_owned(), account);
    }
}

/// What all accounts have taught.
#[derive(Debug)]
struct Model {
    /// Coefficients of the expected root of creates, and of the chance of any.
    root: Vec<f64>,
    any: Vec<f64>,
    /// Moments by the expected root.
    moments: Vec<Moment>,
    turnout: Turnout,
    /// When the newest period ended, in seconds, and the number of accounts and of questions, when
    /// this was fitted.
    fitted_s: i64,
    accounts: usize,
    asked: u64,
}

impl Model {
    /// Whether a day has gone, or there are half as many accounts more. Questions are counted too:
    /// where a clock had jumped ahead when this was fitted, the day would not end.
    fn is_old(&self, now_s: i64, accounts: usize, asked: u64) -> bool {
        let questions = (asked - self.asked) / self.accounts.max(1) as u64;
        now_s - self.fitted_s >= DAY_S
            || questions >= QUESTIONS
            || accounts > self.accounts + self.accounts / 2
    }

    /// Learns from all accounts with periods of a length.
    fn fit(accounts: &BTreeMap<String, Account>, step_s: i64, asked: u64) -> Model {
        let number = accounts.len();
        let of_length = |account: &&Account| account.past.step_s == step_s;
        let accounts: Vec<&Account> = accounts.values().filter(of_length).collect();
        let now_s = accounts.iter().map(|account| account.past.end_s()).max().unwrap_or(0);
        let total: usize = accounts.iter().map(|account| account.past.counts.len()).sum();
        let stride = total.div_ceil(ROWS_MAX).max(1);
        let mut columns: Vec<Vec<f32>> = vec![Vec::new(); FEATURES];
        let (mut roots, mut anys, mut came) = (Vec::new(), Vec::new(), Vec::new());
        let mut whose = Vec::new();
        let mut turnout = Turnout::default();
        for account in accounts {
            let past = &account.past;
            let usual = account.usual.as_ref().unwrap_or(past);
            turnout.learn(&account.plans, past);
            let warm = past.warm_up();
            for t in (warm..past.counts.len()).step_by(stride) {
                // What was announced is not what usually happens.
                if Plan::touches(&account.plans, past, t) {
                    continue;
                }
                let features = usual.features(t);
                columns.iter_mut().zip(features).for_each(|(column, value)| column.push(value));
                let count = past.counts[t];
                came.push(count);
                whose.push(account.number);
                roots.push(count.sqrt());
                anys.push(f32::from(count > 0.0));
            }
        }
        let (root, any) = solve(&columns, &roots, &anys);
        let mut moments: Vec<Moment> = (0..came.len())
            .map(|row| {
                let said = |factors: &[f64]| -> f32 {
                    columns.iter().zip(factors).map(|(c, f)| f64::from(c[row]) * f).sum::<f64>()
                        as f32
                };
                Moment { root: said(&root), any: said(&any), count: came[row], account: whose[row] }
            })
            .collect();
        moments.sort_unstable_by(|a, b| a.root.total_cmp(&b.root));
        Model { root, any, moments, turnout, fitted_s: now_s, accounts: number, asked }
    }

    /// Sorted values that are as likely one as another, and their mean, of the period that
    /// follows a past.
    fn distribution(
        &self,
        past: &Past,
        usual: &Past,
        plans: &[Plan],
        account: u32,
    ) -> (Vec<f64>, f64) {
        let features: Vec<f64> =
            usual.features(usual.counts.len()).iter().map(|&f| f64::from(f)).collect();
        let said = [inner(&self.root, &features) as f32, inner(&self.any, &features) as f32];
        let mut values = self.like(said, account);
        if values.is_empty() {
            // Nothing was taught yet: a mean of its own, Poisson's spread.
            values = poisson(past.mean());
        }
        values.sort_unstable_by(f64::total_cmp);
        let values = self.turnout.add(&values, plans, past, past.counts.len());
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        (values, mean)
    }

    /// What came of the moments of which the like was said, scaled to what is said now. Those of
    /// the same account are nearer.
    fn like(&self, said: [f32; 2], account: u32) -> Vec<f64> {
        let all = &self.moments;
        let at = all.partition_point(|moment| moment.root < said[0]);
        let wide = WIDE.min(all.len());
        let begin = at.saturating_sub(wide / 2).min(all.len() - wide);
        let mut near: Vec<(f32, f32)> = all[begin..begin + wide]
            .iter()
            .map(|moment| {
                let other = if moment.account == account { 0.0 } else { OTHER_ACCOUNT };
                // A step between large roots is smaller than one between small ones.
                let root = (moment.root - said[0]) / (0.3 + 0.15 * said[0].abs());
                let any = (moment.any - said[1]) / 0.3;
                let ratio = (said[0].max(0.0) + 1.5) / (moment.root.max(0.0) + 1.5);
                let scaled = moment.count * (ratio * ratio).clamp(0.25, 4.0);
                (root.hypot(any) + other, scaled)
            })
            .collect();
        let count = LIKE.min(near.len());
        if count < near.len() {
            near.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
        }
        near.truncate(count);
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let within = near.partition_point(|near| near.0 <= NEAR);
        let count = within.max(LIKE_MIN).min(count);
        near[..count].iter().map(|&(_, count)| f64::from(count)).collect()
    }
}

/// A moment of an account that the model was fitted to.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// What is said of it: the expected root of creates, and the chance of any.
    root: f32,
    any: f32,
    /// How many came.
    count: f32,
    /// Whose.
    account: u32,
}

fn solve(columns: &[Vec<f32>], roots: &[f32], anys: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let size = columns.len();
    let mut gram = Square::zero(size);
    for i in 0..size {
        for j in 0..=i {
            gram.set(i, j, dot(&columns[i], &columns[j]));
        }
    }
    let rows = roots.len().max(1) as f64;
    // In units of each column's own spread.
    let penalties: Vec<f64> = (0..size)
        .map(|i| if i == 0 { 1e-6 } else { PENALTY * (gram.at(i, i) / rows + 1e-6) })
        .collect();
    let fit = |target: &[f32]| {
        let moment: Vec<f64> = columns.iter().map(|column| dot(column, target)).collect();
        ridge(&gram, &penalties, &moment).unwrap_or_else(|| vec![0.0; size])
    };
    (fit(roots), fit(anys))
}

/// A hundred values as likely one as another, of a Poisson distribution.
fn poisson(mean: f64) -> Vec<f64> {
    let mean = mean.clamp(0.0, 700.0);
    let (mut count, mut chance) = (0.0, (-mean).exp());
    let mut sum = chance;
    (0..100)
        .map(|i| {
            while sum < (f64::from(i) + 0.5) / 100.0 && count < 2_000.0 {
                count += 1.0;
                chance *= mean / count;
                sum += chance;
            }
            count
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_767_571_200_000); // Monday, 2026-01-05
    const STEP: Span = Span::from_secs(900);
    const WANTED: [f64; 3] = [0.1, 0.5, 0.9];

    fn ask(fleet: &mut Fleet, account: &str, history: &[f64], plans: &[Plan]) -> Vec<f64> {
        let asked = Asked {
            account,
            start: START,
            step: STEP,
            history,
            horizon: 2,
            quantiles: &WANTED,
            plans,
        };
        let rows = fleet.forecast(&asked);
        assert!(rows.iter().all(|row| row.len() == 2));
        assert!(rows.iter().flatten().all(|value| value.is_finite() && *value >= 0.0));
        rows.into_iter().map(|row| row[0]).collect()
    }

    /// Twenty creates at three every night, and now and then one.
    fn nightly(periods: usize) -> Vec<f64> {
        (0..periods)
            .map(|t| if t % 96 == 12 { 20.0 } else { f64::from(u8::from(t % 37 == 5)) })
            .collect()
    }

    #[test]
    fn what_happens_every_night_is_expected_tonight_and_not_at_noon() {
        let mut fleet = Fleet::new();
        let night = ask(&mut fleet, "a", &nightly(10 * 96 + 12), &[]);
        assert!((17.0..23.0).contains(&night[1]), "{night:?}");
        let noon = ask(&mut fleet, "a", &nightly(10 * 96 + 48), &[]);
        assert!(noon[2] < 2.0, "{noon:?}");
    }

    #[test]
    fn accounts_teach_each_other() {
        let mut fleet = Fleet::new();
        for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let history: Vec<f64> =
                nightly(12 * 96).iter().map(|count| count * (number + 1) as f64 / 2.0).collect();
            ask(&mut fleet, name, &history, &[]);
        }
        // Two nights are no habit of its own, but such nights are one of the others.
        let alone = ask(&mut Fleet::new(), "new", &nightly(2 * 96 + 12), &[]);
        let among = ask(&mut fleet, "new", &nightly(2 * 96 + 12), &[]);
        assert!(among[1] > 10.0 && among[1] > alone[1] + 5.0, "{among:?} against {alone:?}");
    }

    #[test]
    fn plans_are_expected_as_far_as_such_plans_came_true() {
        let plan = |day: u64, count: u64| Plan {
            announced: START,
            at: Timestamp(START.0 + (day * 86_400 + 43_200) * 1_000),
            count,
            duration: Span::from_secs(3_600),
        };
        let plans: Vec<Plan> = (1..=12).map(|day| plan(day, 40)).collect();
        let said = |comes: bool| {
            let mut history = vec![0.0; 12 * 96 + 48];
            for day in (1..12).filter(|_| comes) {
                history[day * 96 + 48] = 40.0;
            }
            ask(&mut Fleet::new(), "a", &history, &plans)
        };
        let (kept, broken) = (said(true), said(false));
        assert!((38.0..42.0).contains(&kept[1]), "{kept:?}");
        assert!(broken[1] < 2.0, "{broken:?}");
    }

    #[test]
    fn nothing_bad_comes_of_bad_histories() {
        let odd = [f64::NAN, -5.0, 1e300, 0.0, f64::INFINITY, 2.5];
        let mut fleet = Fleet::new();
        for length in [1, 2, 5, 96, 97, 700, 3_000] {
            let history: Vec<f64> = (0..length).map(|t| odd[(t * t + t / 5) % odd.len()]).collect();
            for start in [0, START.0, u64::MAX / 2, u64::MAX] {
                for step in [0, 1_000, 900_000, 86_400_000_000, u64::MAX] {
                    let asked = Asked {
                        account: "a",
                        start: Timestamp(start),
                        step: Span(step),
                        history: &history,
                        horizon: 3,
                        quantiles: &WANTED,
                        plans: &[],
                    };
                    let rows = fleet.forecast(&asked);
                    assert!(rows.iter().flatten().all(|value| value.is_finite()), "{rows:?}");
                }
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_end_the_learning() {
        let mut fleet = Fleet::new();
        let mut at = |start: u64, history: &[f64]| {
            let start = Timestamp(start);
            let (step, plans) = (STEP, &[][..]);
            fleet.forecast(&Asked {
                account: "a",
                start,
                step,
                history,
                horizon: 1,
                quantiles: &WANTED,
                plans,
            })[1][0]
        };
        at(START.0 * 2, &nightly(10 * 96 + 12));
        // Its habits are others now, by a clock that is right again.
        let now: Vec<f64> = nightly(10 * 96 + 48).iter().map(|count| count / 20.0).collect();
        for _ in 0..QUESTIONS {
            at(START.0, &now[..10 * 96 + 12]);
        }
        let night = at(START.0, &now[..10 * 96 + 12]);
        assert!((0.8..1.2).contains(&night), "{night}");
    }

    #[test]
    fn periods_of_other_lengths_are_learnt_from_apart() {
        let mut fleet = Fleet::new();
        let mut at = |account: &str, step: u64, history: &[f64]| {
            let (step, plans) = (Span::from_secs(step), &[][..]);
            let (horizon, quantiles) = (1, &WANTED[..]);
            let asked = Asked { account, start: START, step, history, horizon, quantiles, plans };
            fleet.forecast(&asked)[1][0]
        };
        let alone = at("hourly", 3_600, &[8.0; 240]);
        at("often", 60, &[0.0; 2_000]);
        assert_eq!(at("hourly", 3_600, &[8.0; 240]), alone);
        // As many lengths as anyone may think of do not make many models.
        (1..40).for_each(|step| _ = at("odd", step * 60, &[1.0; 10]));
        assert!(fleet.models.len() <= MODELS_MAX);
    }

    #[test]
    fn of_too_many_accounts_the_one_asked_about_last_goes() {
        let mut fleet = Fleet::new();
        for number in 0..=ACCOUNTS_MAX {
            ask(&mut fleet, &number.to_string(), &[1.0, 0.0], &[]);
        }
        assert_eq!(fleet.accounts.len(), ACCOUNTS_MAX);
        assert!(!fleet.accounts.contains_key("0") && fleet.accounts.contains_key("1"));
    }
}
