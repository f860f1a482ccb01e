//! `Idempotency-Key`: a write that is sent again has the answer that it had.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use ring::digest;

use super::caller::Caller;
use super::problem::Problem;

/// The header.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_BYTES_MAX: usize = 255;
/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Answers kept for one caller, and what they may take.
const ANSWERS_MAX: usize = 10_000;
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Callers that answers are kept for.
const CALLERS_MAX: usize = 1024;

/// What was answered of late, to whom with which rights: a name may come to be another's.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<HashMap<Caller, Answers>>);

/// What was answered to one caller.
#[derive(Debug, Default)]
struct Answers {
    by_key: HashMap<Box<str>, Entry>,
    order: VecDeque<(Instant, Box<str>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    request: Print,
    /// None while it is being made.
    answer: Option<Answer>,
}

/// What tells one request from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print([u8; 32]);

/// An answer, as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Leave to answer a request for the first time. What is not kept is forgotten when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    replays: Arc<Replays>,
    caller: Caller,
    key: Box<str>,
}

/// What a key stands for.
pub(super) enum Found {
    New(Claim),
    Again(Answer),
}

impl Print {
    pub(super) fn of(method: &str, target: &str, body: &[u8]) -> Print {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [method.as_bytes(), b" ", target.as_bytes(), b"\n", body] {
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.finish().as_ref());
        Print(print)
    }
}

/// The key of a request. On error it is none.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    let want = format!("want 1 to {KEY_BYTES_MAX} visible characters");
    text.map(|text| Some(text.into())).ok_or_else(|| Problem::field("Idempotency-Key", want))
}

impl Replays {
    /// What `key` of `caller` stands for, at `now`.
    pub(super) fn find(
        self: &Arc<Replays>,
        caller: &Caller,
        key: Box<str>,
        request: Print,
        now: Instant,
    ) -> Result<Found, Problem> {
        let mut callers = self.callers();
        if !callers.contains_key(caller) && callers.len() >= CALLERS_MAX {
            callers.retain(|_, answers| !answers.forget_old(now));
            if callers.len() >= CALLERS_MAX {
                return Err(Problem::too_many("too many callers with idempotency keys", 60));
            }
        }
        let answers = callers.entry(caller.clone()).or_default();
        answers.forget_old(now);
        match answers.by_key.get(&key) {
            Some(entry) if entry.request != request => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("idempotency-key `{key}` stood for another request"),
            )),
            Some(Entry { answer: Some(answer), .. }) => Ok(Found::Again(answer.clone())),
            Some(Entry { answer: None, .. }) => Err(Problem::new(
                StatusCode::CONFLICT,
                format!("the first request with idempotency-key `{key}` is being answered"),
            )),
            None => {
                answers.by_key.insert(key.clone(), Entry { request, answer: None });
                Ok(Found::New(Claim { replays: self.clone(), caller: caller.clone(), key }))
            }
        }
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<Caller, Answers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Keeps the answer to what was done. What was refused changed nothing: it is asked anew, as
    /// another time may find a place free or a name known.
    pub(super) fn keep(self, answer: &Answer, now: Instant) {
        if !answer.status.is_success() {
            return;
        }
        let mut callers = self.replays.callers();
        let Some(answers) = callers.get_mut(&self.caller) else { return };
        let Some(entry) = answers.by_key.get_mut(&self.key) else { return };
        entry.answer = Some(answer.clone());
        answers.bytes += answer.body.len();
        answers.order.push_back((now, self.key.clone()));
        while answers.order.len() > ANSWERS_MAX || answers.bytes > ANSWER_BYTES_MAX {
            answers.forget_first();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut callers = self.replays.callers();
        let Some(answers) = callers.get_mut(&self.caller) else { return };
        if answers.by_key.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            answers.by_key.remove(&self.key);
        }
    }
}

impl Answers {
    /// Forgets what is too old; whether nothing is left.
    fn forget_old(&mut self, now: Instant) -> bool {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEPT) {
            self.forget_first();
        }
        self.by_key.is_empty()
    }

    fn forget_first(&mut self) {
        let Some((_, key)) = self.order.pop_front() else {
            self.bytes = 0;
            return;
        };
        let gone = self.by_key.remove(&key).and_then(|entry| entry.answer);
        self.bytes = self.bytes.saturating_sub(gone.map_or(0, |answer| answer.body.len()));
    }
}

impl Answer {
    /// The answer as it is sent for the first time.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// The answer as it is sent again.
    pub(super) fn again(self) -> Response {
        let mut response = self.into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::caller::{Role, Scope};
    use crate::base::Timestamp;

    fn named(name: &str) -> Caller {
        Caller { name: name.into(), role: Role::Operate, scope: Scope::All, since: None }
    }

    fn answer(status: u16, bytes: usize) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: vec![0; bytes].into(),
        }
    }

    #[test]
    fn a_key_stands_for_one_request_and_its_answer() {
        let (replays, caller, now) = (Arc::new(Replays::default()), named("ann"), Instant::now());
        let (one, other) = (Print::of("POST", "/a", b"1"), Print::of("POST", "/a", b"2"));
        let find = |print, now| replays.find(&caller, "k".into(), print, now);
        let Ok(Found::New(claim)) = find(one, now) else { panic!() };
        assert_eq!(find(one, now).err().unwrap().status.as_u16(), 409, "still being answered");
        claim.keep(&answer(201, 10), now);
        let Ok(Found::Again(kept)) = find(one, now) else { panic!() };
        assert_eq!(kept.status.as_u16(), 201);
        assert_eq!(find(other, now).err().unwrap().status.as_u16(), 422);
        let elsewhere = replays.find(&named("bob"), "k".into(), other, now);
        assert!(matches!(elsewhere, Ok(Found::New(_))), "keys are each caller's own");
        assert!(matches!(find(other, now + KEPT + KEPT), Ok(Found::New(_))), "for a day");
    }

    #[test]
    fn what_was_refused_is_not_kept() {
        let (replays, caller, now) = (Arc::new(Replays::default()), named("ann"), Instant::now());
        let print = Print::of("POST", "/a", b"");
        for status in [507, 503, 429, 422, 412, 409, 404, 403, 400] {
            let Ok(Found::New(claim)) = replays.find(&caller, "k".into(), print, now) else {
                panic!("{status}")
            };
            claim.keep(&answer(status, 1), now);
        }
        let Ok(Found::New(claim)) = replays.find(&caller, "k".into(), print, now) else { panic!() };
        drop(claim);
        assert!(matches!(replays.find(&caller, "k".into(), print, now), Ok(Found::New(_))));
    }

    #[test]
    fn a_name_that_is_anothers_now_has_none_of_the_answers() {
        let (replays, ann, now) = (Arc::new(Replays::default()), named("ann"), Instant::now());
        let print = Print::of("POST", "/a", b"");
        let find = |caller: &Caller| replays.find(caller, "k".into(), print, now);
        let Ok(Found::New(claim)) = find(&ann) else { panic!() };
        claim.keep(&answer(201, 1), now);
        let others = [
            Caller { since: Some(Timestamp(1)), ..ann.clone() },
            Caller { role: Role::Admin, ..ann.clone() },
            Caller { scope: Scope::of(&["acme".into()]), ..ann.clone() },
        ];
        for other in &others {
            assert!(matches!(find(other), Ok(Found::New(_))), "{other:?}");
        }
        assert!(matches!(find(&ann), Ok(Found::Again(_))));
    }

    #[test]
    fn what_is_kept_is_bounded_for_each_caller() {
        let (replays, caller, now) = (Arc::new(Replays::default()), named("ann"), Instant::now());
        let print = Print::of("POST", "/a", b"");
        for n in 0..40 {
            let found = replays.find(&caller, n.to_string().into(), print, now);
            let Ok(Found::New(claim)) = found else { panic!() };
            claim.keep(&answer(200, 1 << 20), now);
        }
        let callers = replays.callers();
        let answers = &callers[&caller];
        assert_eq!((answers.by_key.len(), answers.bytes), (16, 16 << 20));
    }
}
