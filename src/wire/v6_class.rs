//! User classes (option 15) and vendor classes (option 16) of DHCPv6: lists of data, each with
//! its length before it (RFC 9915 s21.15, s21.16).

/// Iterator over user classes, see [`Message6::user_classes`](super::v6::Message6::user_classes).
#[derive(Clone, Debug)]
pub struct UserClasses6<'a> {
    rest: &'a [u8],
    framed: bool,
}

impl<'a> UserClasses6<'a> {
    /// From the option's data. Where it does not divide into classes, it is one class as a whole.
    pub fn new(data: &'a [u8]) -> UserClasses6<'a> {
        let mut items = Items { rest: data };
        items.by_ref().for_each(drop);
        UserClasses6 { rest: data, framed: items.rest.is_empty() }
    }
}

impl<'a> Iterator for UserClasses6<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if !self.framed {
            return Some(std::mem::take(&mut self.rest)).filter(|class| !class.is_empty());
        }
        let mut items = Items { rest: self.rest };
        let class = items.next()?;
        self.rest = items.rest;
        Some(class)
    }
}

/// The vendor classes of one enterprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorClass6<'a> {
    /// The enterprise's number (IANA); 343 is Intel, which PXE and UEFI use.
    pub enterprise: u32,
    data: &'a [u8],
}

impl<'a> VendorClass6<'a> {
    /// `None` if the enterprise's number is not there.
    pub fn new(data: &'a [u8]) -> Option<VendorClass6<'a>> {
        let (enterprise, data) = data.split_first_chunk()?;
        Some(VendorClass6 { enterprise: u32::from_be_bytes(*enterprise), data })
    }

    /// Its classes in order, up to one that runs past the end.
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.data }
    }
}

/// Iterator over data, each with a length of two bytes before it.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk()?;
        let (item, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.rest = rest;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(data: &[u8]) -> Vec<&[u8]> {
        UserClasses6::new(data).collect()
    }

    #[test]
    fn classes_are_told_apart() {
        assert_eq!(classes(b"\0\x04iPXE"), [b"iPXE"]);
        assert_eq!(classes(b"\0\x01a\0\0\0\x02bc"), [b"a".as_slice(), b"", b"bc"]);
        assert!(classes(b"").is_empty());
    }

    #[test]
    fn bare_text_is_one_class() {
        for bare in [&b"iPXE"[..], b"\0\x01a\0\x05bc", b"\0", b"\0\x01a\0"] {
            assert_eq!(classes(bare), [bare]);
        }
    }

    #[test]
    fn vendor_classes_name_their_enterprise() {
        let class = VendorClass6::new(b"\0\0\x01\x57\0\x09PXEClient\0\x01x").unwrap();
        assert_eq!(class.enterprise, 343);
        assert_eq!(class.items().collect::<Vec<_>>(), [b"PXEClient".as_slice(), b"x"]);
        let cut = VendorClass6::new(b"\0\0\x01\x57\0\x01a\0\x09x").unwrap();
        assert_eq!(cut.items().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(VendorClass6::new(b"\0\0\x01"), None);
    }
}
