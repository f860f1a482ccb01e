//! Where watched VMs are: their ports come and go, change their bridges, and lose their links.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::LinkId;
use crate::watch::{Place, Sign};

use super::super::link::LinkEvent;
use super::super::poll::Token;
use super::Event;
use super::run::{Run, SOCKETS};
use super::segment::Family;

/// After changes of interfaces came faster than they were read, or could not be read, they are
/// looked at again and again for so long: until they are listed.
const LOOK_AGAIN_FOR: Duration = Duration::from_secs(5);

impl<F: FnMut(Event)> Run<F> {
    /// Asks and hears a VM where its port is now.
    pub(super) fn join(&mut self, slot: usize) -> io::Result<()> {
        let Some(Some(watched)) = self.watches.get_mut(slot) else { return Ok(()) };
        let port = watched.port.and_then(|port| self.monitor.link(port));
        let segment = port.map(|port| {
            let bridge = port
                .master
                .filter(|id| self.monitor.link(*id).is_some_and(|master| master.is_bridge));
            bridge.unwrap_or(port.id)
        });
        if segment == watched.segment {
            return Ok(());
        }
        let addrs = &watched.watch.addrs;
        if let Some(left) = std::mem::replace(&mut watched.segment, segment) {
            self.segments.remove(left, slot, addrs);
        }
        let Some(id) = segment else { return Ok(()) };
        let token =
            |family| Token(SOCKETS + (u64::from(id.0) << 1) + u64::from(family == Family::Nd));
        self.segments.add(id, slot, addrs, &self.poller, token)
    }

    pub(super) fn look_at_links(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let polled = self.monitor.poll(&mut events);
        if polled.is_err() || self.monitor.resyncs() != self.resyncs {
            self.resyncs = self.monitor.resyncs();
            self.look_again_until = Some(self.now() + LOOK_AGAIN_FOR.as_nanos() as u64);
        }
        // Told once: it is tried again and again.
        let was_deaf = std::mem::replace(&mut self.is_deaf, polled.is_err());
        if let Some(e) = polled.err().filter(|_| !was_deaf) {
            self.trouble("cannot read the list of interfaces", &e);
        }
        for event in events.drain(..) {
            match event {
                LinkEvent::Appeared(id) => self.link_appeared(id),
                LinkEvent::Changed(id) | LinkEvent::CarrierChanged(id) => self.link_changed(id),
                LinkEvent::Gone(id) => self.link_gone(id),
                LinkEvent::AddrsChanged(_) => {}
            }
        }
        self.events = events;
    }

    fn link_appeared(&mut self, id: LinkId) {
        let Some(link) = self.monitor.link(id) else { return };
        let name = Arc::clone(&link.name);
        let waiting = self.absent.remove(&name).unwrap_or_default();
        self.names.insert(name, id);
        for slot in &waiting {
            if let Some(Some(watched)) = self.watches.get_mut(*slot) {
                watched.port = Some(id);
            }
        }
        if !waiting.is_empty() {
            self.behind.entry(id).or_default().extend(waiting);
            self.link_changed(id);
        }
    }

    fn link_changed(&mut self, id: LinkId) {
        let Some(link) = self.monitor.link(id) else { return };
        let sign = if link.has_carrier { Sign::LinkUp } else { Sign::LinkDown };
        for at in 0.. {
            let Some(slot) = self.behind.get(&id).and_then(|slots| slots.get(at)).copied() else {
                break;
            };
            self.link_sign(slot, sign);
            if let Err(e) = self.join(slot) {
                self.trouble("cannot probe by another interface", &e);
            }
        }
    }

    fn link_gone(&mut self, id: LinkId) {
        self.names.retain(|_, named| *named != id);
        self.segments.close(id);
        for slot in self.behind.remove(&id).unwrap_or_default() {
            self.link_sign(slot, Sign::LinkGone);
            if let Some(Some(watched)) = self.watches.get_mut(slot) {
                watched.port = None;
                let name = Arc::clone(watched.watch.place.link());
                self.absent.entry(name).or_default().push(slot);
            }
            // To leave takes no socket.
            let _ = self.join(slot);
        }
    }

    /// What became of the interface is the VM's if that is right behind it.
    fn link_sign(&mut self, slot: usize, sign: Sign) {
        let place = self.watches.get(slot).and_then(Option::as_ref).map(|w| &w.watch.place);
        if matches!(place, Some(Place::Port(_))) {
            self.sign(slot, sign);
        }
    }
}
