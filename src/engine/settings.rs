//! What the policy says for one client and address: the nearest level that says something wins.

use std::net::Ipv4Addr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Span;
use crate::config::policy::{LeaseTimes, PolicyOption, Settings};

use super::context::{Ctx, pool_in};
use super::pace::Pace;

/// The application that the levels name, nearest first, up to the one that names the account: what
/// is further out is of another account.
pub(super) fn application<'a>(levels: &[&'a Settings]) -> Option<&'a Arc<str>> {
    let account = levels.iter().position(|s| s.account.is_some())?;
    levels.iter().take(account + 1).find_map(|s| s.application.as_ref())
}

/// The levels that concern one client and address, nearest first: what is known by name,
/// reservation, classes, tier, pool, subnet, network, global.
#[derive(Debug)]
pub struct Chain<'a>(SmallVec<[&'a Settings; 8]>);

/// The times of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long it lasts.
    pub lease: Span,
    /// When to renew, from now.
    pub t1: Span,
    /// When to rebind, from now.
    pub t2: Span,
}

impl Times {
    /// A lease of that length with the usual T1 and T2 (RFC 2131 s4.4.5: 1/2 and 7/8).
    pub fn until(lease: Span) -> Times {
        if lease.is_forever() {
            return Times { lease, t1: lease, t2: lease };
        }
        Times { lease, t1: Span(lease.0 / 2), t2: Span(lease.0 - lease.0 / 8) }
    }
}

impl<'a> Chain<'a> {
    /// The chain for a client and the address it has or asks about, with what the tier of that
    /// address says.
    pub fn of(ctx: &Ctx<'a>, addr: Option<Ipv4Addr>, tier: Option<&'a Settings>) -> Chain<'a> {
        let policy = ctx.policy;
        let mut levels = SmallVec::new();
        levels.extend(ctx.kept.map(|kept| &kept.settings));
        levels.extend(ctx.reservation.map(|r| &r.settings));
        let classes = ctx.classes.iter().filter_map(|c| policy.classes.get(usize::from(c.0)));
        levels.extend(classes.map(|c| &c.settings));
        levels.extend(tier);
        let subnet = addr.and_then(|addr| ctx.subnet_of(addr));
        let pool = subnet.zip(addr).and_then(|(subnet, addr)| pool_in(subnet, addr));
        levels.extend(pool.map(|p| &p.settings));
        let subnet = subnet.or_else(|| ctx.network.subnets.get(ctx.scope.first));
        levels.extend(subnet.map(|s| &s.settings));
        levels.extend([&ctx.network.settings, &policy.settings]);
        Chain(levels)
    }

    /// The option of that code.
    pub fn option(&self, code: u8) -> Option<&'a PolicyOption> {
        self.0.iter().find_map(|s| s.options.get(code))
    }

    /// All options that some level has, the nearest of each code; ascending within a level.
    pub fn options(&self) -> impl Iterator<Item = &'a PolicyOption> + '_ {
        self.options_that(|_| true)
    }

    /// Those that are sent even if the client did not ask for them.
    pub fn unasked_options(&self) -> impl Iterator<Item = &'a PolicyOption> + '_ {
        self.options_that(|option| option.always)
    }

    fn options_that(
        &self,
        wanted: fn(&PolicyOption) -> bool,
    ) -> impl Iterator<Item = &'a PolicyOption> + '_ {
        self.0.iter().enumerate().flat_map(move |(level, s)| {
            let nearer = &self.0[..level];
            let is_nearest =
                move |o: &&PolicyOption| nearer.iter().all(|n| n.options.get(o.code).is_none());
            s.options.entries().iter().filter(move |o| wanted(o)).filter(is_nearest)
        })
    }

    /// siaddr.
    pub fn next_server(&self) -> Option<Ipv4Addr> {
        self.0.iter().find_map(|s| s.next_server)
    }

    /// sname.
    pub fn server_name(&self) -> Option<&'a str> {
        self.0.iter().find_map(|s| s.server_name.as_deref())
    }

    /// The boot file or URL.
    pub fn boot_file(&self) -> Option<&'a str> {
        self.0.iter().find_map(|s| s.boot_file.as_deref())
    }

    /// Whom the client belongs to.
    pub fn account(&self) -> Option<&'a Arc<str>> {
        self.0.iter().find_map(|s| s.account.as_ref())
    }

    /// What runs in the client, of its account.
    pub fn application(&self) -> Option<&'a Arc<str>> {
        application(&self.0)
    }

    /// Whether lease times depend on their client and its pool.
    pub fn is_adaptive(&self) -> bool {
        self.0.iter().find_map(|s| s.lease.adaptive).unwrap_or_default()
    }

    /// The times of a lease for a client that asks for `asked` seconds (RFC 2131 s4.3.1, s4.4.5).
    pub fn times(&self, asked: Option<u32>, pace: &Pace) -> Times {
        let of = |get: fn(&LeaseTimes) -> Option<Span>| {
            self.0.iter().find_map(|s| get(&s.lease)).or_else(|| get(&LeaseTimes::DEFAULT))
        };
        let default = of(|t| t.default).unwrap_or(Span::ZERO);
        // A default beyond an inherited bound moves the bound: the nearer word counts.
        let min = of(|t| t.min).unwrap_or(default).min(default);
        let max = of(|t| t.max).unwrap_or(default).max(default);
        let usual = if self.is_adaptive() { pace.lease(min, default, max) } else { default };
        let lease = match asked {
            None => usual,
            // RFC 2131 s3.3: all ones is infinity.
            Some(u32::MAX) if !self.is_adaptive() => max,
            Some(secs) if !self.is_adaptive() => Span::from_secs(secs.into()).clamp(min, max),
            // No longer than what is right for it.
            Some(secs) => Span::from_secs(secs.into()).clamp(min, usual),
        };
        let usual = Times::until(lease);
        if lease.is_forever() {
            return usual;
        }
        let jitter = self.0.iter().find_map(|s| s.lease.jitter).or(LeaseTimes::DEFAULT.jitter);
        let early = |time| pace.earlier(time, jitter.unwrap_or_default());
        let t2 = of(|t| t.t2).filter(|t2| *t2 < lease).unwrap_or(early(usual.t2));
        let t1 = of(|t| t.t1).filter(|t1| *t1 < t2).unwrap_or(early(usual.t1).min(t2));
        Times { lease, t1, t2 }
    }
}
