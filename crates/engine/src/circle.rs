//! Looks that go once around things in their order, a part at a time. Some of them come and go
//! meanwhile. A look that begins anew goes on from where it is, so none of them is looked at first
//! each time, however often it begins anew.

/// Where such a look is.
#[derive(Debug)]
pub(crate) struct Circle<T> {
    /// The one that was looked at last; none where the first of all comes next.
    after: Option<T>,
    /// The last one that is to be looked at, once the look has passed the end of all; none where it
    /// is over there.
    until: Option<T>,
    /// It has passed the end of all.
    again: bool,
}

impl<T> Default for Circle<T> {
    fn default() -> Self {
        Self { after: None, until: None, again: false }
    }
}

impl<T: Ord + Clone> Circle<T> {
    /// From here on all are to be looked at once.
    pub(crate) fn begin(&mut self) {
        (self.until, self.again) = (self.after.clone(), false);
    }

    /// The next ones, up to `most`, and whether that was all. `find` says which come after one, up
    /// to so many.
    pub(crate) fn go_on(
        &mut self,
        most: usize,
        mut find: impl FnMut(Option<&T>, usize) -> Vec<T>,
    ) -> (Vec<T>, bool) {
        let mut seen = Vec::new();
        while seen.len() < most {
            let room = most - seen.len();
            let mut next = find(self.after.as_ref(), room);
            let mut is_end = next.len() < room;
            if self.again {
                let found = next.len();
                next.retain(|it| self.until.as_ref().is_some_and(|until| it <= until));
                is_end |= next.len() < found;
            }
            let last = next.last().cloned();
            seen.append(&mut next);
            if !is_end {
                self.after = last;
            } else if self.again || self.until.is_none() {
                return (seen, true);
            } else {
                (self.after, self.again) = (None, true);
            }
        }
        (seen, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(of: &[u32]) -> impl FnMut(Option<&u32>, usize) -> Vec<u32> {
        move |after, most| {
            let rest = of.iter().filter(|it| after.is_none_or(|after| *it > after));
            rest.take(most).copied().collect()
        }
    }

    #[test]
    fn each_is_looked_at_once_from_wherever_it_begins() {
        for most in 1..9 {
            let all = [1, 2, 3, 5, 6, 7];
            let mut circle = Circle::default();
            circle.go_on(3, find(&all));
            circle.begin();
            let (mut seen, mut looks) = (Vec::new(), 0);
            loop {
                let (next, over) = circle.go_on(most, find(&all));
                assert!(next.len() <= most);
                seen.extend(next);
                looks += 1;
                if over {
                    break;
                }
            }
            assert_eq!(seen, [5, 6, 7, 1, 2, 3], "{most} at a time");
            assert!(looks <= all.len() / most + 2);
        }
    }

    #[test]
    fn what_begins_anew_goes_on() {
        let all = [1, 2, 3, 4, 5];
        let mut circle = Circle::default();
        let mut seen = Vec::new();
        for _ in 0..4 {
            circle.begin();
            seen.extend(circle.go_on(2, find(&all)).0);
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 1, 2, 3]);
    }

    #[test]
    fn some_come_and_go() {
        let mut circle = Circle::default();
        circle.go_on(2, find(&[1, 2, 4]));
        circle.begin();
        assert_eq!(circle.go_on(1, find(&[1, 3, 4])), (vec![3], false), "where it was nothing is");
        assert_eq!(circle.go_on(9, find(&[1, 4, 6])), (vec![4, 6, 1], true));
        let mut circle = Circle::default();
        circle.go_on(2, find(&[1, 2, 4]));
        circle.begin();
        assert_eq!(circle.go_on(9, find(&[])), (vec![], true));
    }
}
