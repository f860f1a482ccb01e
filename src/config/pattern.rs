//! Names with `*` and `?`.

/// An interface name, possibly with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether `name` matches: `*` stands for any run of characters, `?` for one. Linear in
    /// `name` for each `*`, without recursion.
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut p, mut n, mut star) = (0, 0, None);
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == b'?' || *c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        p = at + 1;
                        n = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }

    /// Whether some name matches both.
    pub fn meets(&self, other: &Pattern) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        // `row[j]`: what is left of `a` and `b` from `j` on has a name in common.
        let mut below = vec![false; b.len() + 1];
        for i in (0..=a.len()).rev() {
            let mut row = vec![false; b.len() + 1];
            for j in (0..=b.len()).rev() {
                let next = |v: &[bool]| v.get(j + 1).copied().unwrap_or(false);
                row[j] = match (a.get(i), b.get(j)) {
                    (None, None) => true,
                    (Some(b'*'), _) => below[j] || next(&row),
                    (_, Some(b'*')) => next(&row) || below[j],
                    (Some(x), Some(y)) => (x == y || *x == b'?' || *y == b'?') && next(&below),
                    _ => false,
                };
            }
            below = row;
        }
        below[0]
    }

    /// Whether it is a plain name, not a glob.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_shells_do() {
        let cases = [
            ("br0", "br0", true),
            ("br0", "br01", false),
            ("br*", "br0", true),
            ("*", "", true),
            ("v?br*0", "vxbr10", true),
            ("v?br*0", "vbr10", false),
            ("*a*b", "xaxxab", true),
        ];
        for (pattern, name, want) in cases {
            assert_eq!(Pattern(pattern.into()).matches(name.as_bytes()), want, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_meet_where_a_name_matches_both() {
        let cases = [
            ("br0", "br0", true),
            ("br0", "br1", false),
            ("br*", "br0", true),
            ("br*", "*0", true),
            ("br*", "vm*", false),
            ("b?0", "br*", true),
            ("*", "", true),
            ("a*b", "a*c", false),
            ("a*", "a", true),
            ("ab", "a*bc", false),
        ];
        for (a, b, want) in cases {
            let (a, b) = (Pattern(a.into()), Pattern(b.into()));
            assert_eq!(a.meets(&b), want, "{a:?} {b:?}");
            assert_eq!(b.meets(&a), want, "{b:?} {a:?}");
        }
    }
}
