//! User classes (option 77, RFC 3004), as RFC 3004 frames them or as bare text.

use std::borrow::Cow;

/// Iterator over user classes, see [`Message::user_classes`](super::v4::Message::user_classes).
#[derive(Clone, Debug)]
pub struct UserClasses<'a> {
    data: Cow<'a, [u8]>,
    at: usize,
    framed: bool,
}

impl<'a> UserClasses<'a> {
    /// From the option's data.
    pub fn new(data: Cow<'a, [u8]>) -> UserClasses<'a> {
        let mut classes = UserClasses { data, at: 0, framed: true };
        classes.by_ref().for_each(drop);
        let framed = classes.at == classes.data.len();
        UserClasses { at: 0, framed, ..classes }
    }

    fn slice(&self, start: usize, end: usize) -> Option<Cow<'a, [u8]>> {
        match &self.data {
            Cow::Borrowed(data) => data.get(start..end).map(Cow::Borrowed),
            Cow::Owned(data) => data.get(start..end).map(|part| Cow::Owned(part.to_vec())),
        }
    }
}

impl<'a> Iterator for UserClasses<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let start = self.at;
        let first = usize::from(*self.data.get(start)?);
        if !self.framed {
            self.at = self.data.len();
            return self.slice(start, self.at);
        }
        // RFC 3004 s4: an instance has at least one byte.
        let class = self.slice(start + 1, start + 1 + first).filter(|class| !class.is_empty())?;
        self.at = start + 1 + first;
        Some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(data: &[u8]) -> Vec<Vec<u8>> {
        UserClasses::new(Cow::Borrowed(data)).map(Cow::into_owned).collect()
    }

    #[test]
    fn framed_instances_are_told_apart() {
        assert_eq!(classes(b"\x04iPXE"), [b"iPXE"]);
        assert_eq!(classes(b"\x01a\x02bc"), [b"a".to_vec(), b"bc".to_vec()]);
    }

    #[test]
    fn bare_text_is_one_class() {
        assert_eq!(classes(b"iPXE"), [b"iPXE"]);
        // Frames that do not cover the value exactly are no frames.
        assert_eq!(classes(b"\x01a\x05bc"), [b"\x01a\x05bc"]);
        assert_eq!(classes(b"\x01a\x00"), [b"\x01a\x00"]);
        assert!(classes(b"").is_empty());
    }

    #[test]
    fn joined_data_reads_the_same() {
        let owned = UserClasses::new(Cow::Owned(b"\x01a\x02bc".to_vec()));
        assert_eq!(owned.map(Cow::into_owned).collect::<Vec<_>>(), classes(b"\x01a\x02bc"));
    }
}
