//! Transactions as their clients know them: of what one publishes and acks, all comes to be or
//! nothing.

use std::collections::BTreeMap;

/// A message in a queue.
type Entry = (&'static str, u64);

#[derive(Debug)]
struct Transaction {
    published: Vec<Entry>,
    acked: Vec<Entry>,
    /// Whether it came to be, where that is known.
    happened: Option<bool>,
}

/// All that were ever asked for.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    all: Vec<Transaction>,
    publisher: BTreeMap<Entry, usize>,
    acker: BTreeMap<Entry, usize>,
}

impl Transactions {
    /// One is asked for.
    pub(crate) fn begin(&mut self, published: Vec<Entry>, acked: Vec<Entry>) -> usize {
        let index = self.all.len();
        self.publisher.extend(published.iter().map(|entry| (*entry, index)));
        self.acker.extend(acked.iter().map(|entry| (*entry, index)));
        self.all.push(Transaction { published, acked, happened: None });
        index
    }

    /// It was answered: it came to be.
    pub(crate) fn happened(&mut self, index: usize) -> Result<(), String> {
        self.is(index, true)
    }

    /// A message arrives somewhere.
    pub(crate) fn arrives(&mut self, entry: Entry) -> Result<(), String> {
        if let Some(index) = self.publisher.get(&entry) {
            self.is(*index, true)?;
        }
        if let Some(index) = self.acker.get(&entry) {
            self.is(*index, false)?;
        }
        Ok(())
    }

    fn is(&mut self, index: usize, happened: bool) -> Result<(), String> {
        let transaction = &mut self.all[index];
        if transaction.happened.is_some_and(|before| before != happened) {
            let Transaction { published, acked, .. } = transaction;
            return Err(format!("half of a transaction: published {published:?}, acked {acked:?}"));
        }
        transaction.happened = Some(happened);
        Ok(())
    }
}
