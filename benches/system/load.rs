//! The load: many clients on one thread, at a rate or in a closed loop, by packet sockets and in
//! batches.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket as Sink};
use std::time::{Duration, Instant};

use foreshadow::base::Span;
use foreshadow::net::{FrameSocket, Mode, Outbox, Poller, RecvBatch, Takes, Token, UdpSocket, sys};

use crate::meter::{self, Latency};
use crate::speech::{self, Heard, Held, Speaker, Way, Word};
use crate::stage::Stage;

/// After how long without an answer the rest is given up.
const QUIET: Duration = Duration::from_secs(1);
/// After how long without an answer a closed loop takes what it waits for as lost.
const STALLED: Duration = QUIET;
/// Below this rate the generator sleeps between packets, for up to a millisecond.
const SLEEPY: f64 = 4_000.0;
/// A storm that is not over by then is given up.
const STORMING: Duration = Duration::from_secs(30);
/// How long a client waits that looks whether a server is there.
const KNOCK: Span = Span(5);
/// How often unanswered clients are looked for.
const SWEEP: Duration = Duration::from_millis(50);

/// How fast exchanges begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many a second, whatever is answered.
    Rate(f64),
    /// So many at a time: the next one begins when one is done.
    Window(usize),
    /// All at once; who is not answered within this time asks again, up to two seconds later.
    AtOnce(Duration),
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Gets a lease: four packets.
    Bind,
    /// Extends the one it has: two packets.
    Renew,
    /// Gives it back.
    Release,
}

/// An exchange that is to begin: which client does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) client: u32,
    pub(crate) way: Way,
    pub(crate) deed: Deed,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) begun: u64,
    pub(crate) done: u64,
    /// Exchanges that ended without an ACK.
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) resent: u64,
    /// Seconds from the first packet to the last answer.
    pub(crate) elapsed: f64,
    /// Seconds of CPU that the generator used.
    pub(crate) own_cpu: f64,
    pub(crate) offer: Latency,
    pub(crate) ack: Latency,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.max(1e-9)
    }

    /// Share of exchanges that came to nothing.
    pub(crate) fn lost_share(&self) -> f64 {
        1.0 - self.done as f64 / self.begun.max(1) as f64
    }
}

#[derive(Clone, Copy)]
struct Client {
    held: Held,
    /// What it said last and has no answer to, by which way.
    asked: Option<(Word, Way)>,
    /// Since the start of the run.
    asked_at: Duration,
}

/// The generator on its interface.
pub(crate) struct Load {
    frames: FrameSocket,
    relayed: UdpSocket,
    /// So that the kernel sends no "port unreachable"; nobody reads them.
    _sinks: Vec<Sink>,
    poller: Poller,
    batch: RecvBatch,
    out: Outbox,
    speaker: Speaker,
    clients: Vec<Client>,
    heard: Vec<(u32, Heard)>,
}

struct Run {
    begun_at: Instant,
    last_heard: Duration,
    /// When a closed loop began anew.
    renewed: Duration,
    next_sweep: Duration,
    open: usize,
    dry: bool,
    outcome: Outcome,
}

impl Load {
    /// On the client's interface of `stage`.
    pub(crate) fn on(stage: &Stage) -> Load {
        Load::of(stage, &stage.client, stage.client_link)
    }

    /// On `link` of `host`.
    pub(crate) fn of(stage: &Stage, host: &crate::common::world::Host, link: &str) -> Load {
        let id = foreshadow::base::LinkId(host.index_of(link));
        let own_mac = foreshadow::base::Mac(host.mac_of(link));
        let speaker = Speaker::new(own_mac, stage.server_mac, crate::stage::RELAY);
        host.enter(|| {
            let frames = FrameSocket::dhcp(id, Mode::Serve).expect("packet socket");
            let relayed = UdpSocket::open(id, Takes::Relayed).expect("port 67");
            let sinks = [
                Sink::bind((Ipv4Addr::UNSPECIFIED, 68)).expect("port 68"),
                Sink::bind((Ipv6Addr::UNSPECIFIED, 546)).expect("port 546"),
            ];
            let poller = Poller::new().expect("epoll");
            poller.add(&frames, Token(0)).expect("epoll");
            poller.add(&relayed, Token(1)).expect("epoll");
            Load {
                frames,
                relayed,
                _sinks: sinks.into(),
                poller,
                batch: RecvBatch::default(),
                out: Outbox::default(),
                speaker,
                clients: Vec::new(),
                heard: Vec::new(),
            }
        })
    }

    /// Forgets all clients: the next server knows none of them.
    pub(crate) fn forget(&mut self) {
        self.clients.clear();
    }

    /// These clients bind by `way`; none begins after `longest`.
    pub(crate) fn bind(
        &mut self,
        way: Way,
        clients: std::ops::Range<u32>,
        pace: Pace,
        longest: Duration,
    ) -> Outcome {
        let turns = clients.map(|client| Turn { client, way, deed: Deed::Bind });
        self.run(&mut within(longest, turns), pace)
    }

    /// These clients, which are bound, renew in turn, `count` times in all.
    pub(crate) fn renew(
        &mut self,
        way: Way,
        clients: std::ops::Range<u32>,
        count: usize,
        pace: Pace,
        longest: Duration,
    ) -> Outcome {
        let turns = clients.cycle().take(count);
        let turns = turns.map(|client| Turn { client, way, deed: Deed::Renew });
        self.run(&mut within(longest, turns), pace)
    }

    /// Asks for an offer and waits a few milliseconds; whether there was one.
    pub(crate) fn knock(&mut self, way: Way, client: u32) -> bool {
        self.speaker.say(Word::Seek, way, client, &Held::NOTHING, &mut self.out);
        self.flush();
        self.poller.wait(Some(KNOCK)).expect("epoll").for_each(drop);
        let mut heard = Vec::new();
        self.read(&mut heard);
        heard.iter().any(|(n, heard)| *n == client && matches!(heard, Heard::Offer(_)))
    }

    /// Plays `turns` to the end.
    pub(crate) fn run(&mut self, turns: &mut dyn Iterator<Item = Turn>, pace: Pace) -> Outcome {
        let own = meter::own_cpu();
        let mut run = Run {
            begun_at: Instant::now(),
            last_heard: Duration::ZERO,
            renewed: Duration::ZERO,
            next_sweep: SWEEP,
            open: 0,
            dry: false,
            outcome: Outcome::default(),
        };
        loop {
            let now = run.begun_at.elapsed();
            self.begin(now, turns, pace, &mut run);
            let count = self.hear(&mut run);
            let quiet = now.saturating_sub(run.last_heard.max(run.renewed));
            if run.dry && (run.open == 0 || quiet > patience(pace)) {
                break;
            }
            if matches!(pace, Pace::AtOnce(_)) && now > STORMING {
                break;
            }
            match pace {
                Pace::Window(_) if quiet > STALLED && run.open > 0 && !run.dry => {
                    self.give_up(&mut run);
                    run.renewed = now;
                }
                Pace::AtOnce(after) if now >= run.next_sweep => {
                    self.ask_again(now, after, &mut run)
                }
                _ => {}
            }
            let may_sleep = match pace {
                Pace::Rate(rate) => rate < SLEEPY || run.dry,
                Pace::Window(window) => run.open >= window || run.dry,
                Pace::AtOnce(_) => run.dry,
            };
            if count == 0 && may_sleep {
                self.poller.wait(Some(Span(1))).expect("epoll").for_each(drop);
            }
        }
        self.give_up(&mut run);
        let mut outcome = run.outcome;
        outcome.lost = outcome.begun - outcome.done - outcome.refused;
        outcome.elapsed = run.last_heard.as_secs_f64();
        outcome.own_cpu = meter::own_cpu() - own;
        outcome
    }

    /// Begins what is due, a batch at most.
    fn begin(
        &mut self,
        now: Duration,
        turns: &mut dyn Iterator<Item = Turn>,
        pace: Pace,
        run: &mut Run,
    ) {
        let due = match pace {
            _ if run.dry => 0,
            Pace::Rate(rate) => {
                ((now.as_secs_f64() * rate) as u64 + 1).saturating_sub(run.outcome.begun) as usize
            }
            Pace::Window(window) => window.saturating_sub(run.open),
            Pace::AtOnce(_) => sys::BATCH,
        };
        for _ in 0..due.min(sys::BATCH) {
            let Some(turn) = turns.next() else {
                run.dry = true;
                break;
            };
            self.start(turn, now, run);
        }
        self.flush();
    }

    fn start(&mut self, turn: Turn, now: Duration, run: &mut Run) {
        let number = turn.client as usize;
        if number >= self.clients.len() {
            let fresh = Client { held: Held::NOTHING, asked: None, asked_at: Duration::ZERO };
            self.clients.resize(number + 1, fresh);
        }
        let client = &mut self.clients[number];
        // One that is still waiting is lost.
        run.open -= usize::from(client.asked.is_some());
        let word = match turn.deed {
            Deed::Bind => Word::Seek,
            Deed::Renew => Word::Renew,
            Deed::Release => Word::Release,
        };
        run.outcome.begun += 1;
        self.speaker.say(word, turn.way, turn.client, &client.held, &mut self.out);
        if word == Word::Release && matches!(turn.way, Way::Direct | Way::Relayed) {
            // RFC 2131 s4.4.6: nobody answers it.
            client.asked = None;
            run.outcome.done += 1;
            return;
        }
        client.asked = Some((word, turn.way));
        client.asked_at = now;
        run.open += 1;
    }

    /// Reads a batch of answers and says what follows; how many there were.
    fn hear(&mut self, run: &mut Run) -> usize {
        let mut heard = std::mem::take(&mut self.heard);
        let count = self.read(&mut heard);
        if count > 0 {
            let now = run.begun_at.elapsed();
            for (number, heard) in heard.drain(..) {
                self.answer(number, heard, now, run);
            }
            self.flush();
        }
        self.heard = heard;
        count
    }

    fn read(&mut self, heard: &mut Vec<(u32, Heard)>) -> usize {
        let frames = self.frames.recv(&mut self.batch).expect("receive");
        for i in 0..frames {
            if let Some(frame) = FrameSocket::frame(&self.batch, i) {
                heard.extend(self.speaker.read_frame(frame.bytes, frame.is_ipv6()));
            }
        }
        let relayed = self.relayed.recv(&mut self.batch).expect("receive");
        for i in 0..relayed {
            let datagram = UdpSocket::datagram(&self.batch, i);
            heard.extend(datagram.and_then(|datagram| speech::read4(datagram.bytes)));
        }
        frames + relayed
    }

    fn answer(&mut self, number: u32, heard: Heard, now: Duration, run: &mut Run) {
        let Some(client) = self.clients.get_mut(number as usize) else { return };
        let Some((word, way)) = client.asked else { return };
        let took = now.saturating_sub(client.asked_at);
        match (word, heard) {
            (Word::Seek, Heard::Offer(held)) => {
                run.outcome.offer.add(took);
                client.held = held;
                client.asked = Some((Word::Select, way));
                client.asked_at = now;
                self.speaker.say(Word::Select, way, number, &held, &mut self.out);
                run.last_heard = now;
                return;
            }
            (Word::Select | Word::Renew, Heard::Ack(held)) => {
                run.outcome.ack.add(took);
                client.held = held;
                run.outcome.done += 1;
            }
            (Word::Release, Heard::Ack(_) | Heard::Refusal) => run.outcome.done += 1,
            (_, Heard::Refusal) => run.outcome.refused += 1,
            // An answer to what was asked before.
            _ => return,
        }
        client.asked = None;
        run.open -= 1;
        run.last_heard = now;
    }

    /// Who waits for longer than `after` says it again.
    fn ask_again(&mut self, now: Duration, after: Duration, run: &mut Run) {
        run.next_sweep = now + SWEEP;
        for (number, client) in self.clients.iter_mut().enumerate() {
            let Some((word, way)) = client.asked else { continue };
            if now.saturating_sub(client.asked_at) > after + spread(number as u32) {
                client.asked_at = now;
                run.outcome.resent += 1;
                self.speaker.say(word, way, number as u32, &client.held, &mut self.out);
            }
        }
        self.flush();
    }

    fn give_up(&mut self, run: &mut Run) {
        if run.open > 0 {
            self.clients.iter_mut().for_each(|client| client.asked = None);
            run.open = 0;
        }
        run.last_heard = run.last_heard.max(Duration::from_micros(1));
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            // What does not fit is lost on the way, like a packet on a wire.
            self.frames.send(&mut self.out);
        }
    }
}

/// What chance is to clients that ask again (RFC 2131 s4.1): up to two seconds, different for each.
fn spread(client: u32) -> Duration {
    Duration::from_millis(u64::from(client.wrapping_mul(0x9e37_79b1) >> 16) % 2_000)
}

fn patience(pace: Pace) -> Duration {
    match pace {
        Pace::AtOnce(after) => after * 3,
        _ => QUIET,
    }
}

/// `turns`, until `longest` is over.
fn within(longest: Duration, turns: impl Iterator<Item = Turn>) -> impl Iterator<Item = Turn> {
    let end = Instant::now() + longest;
    turns.take_while(move |_| Instant::now() < end)
}
