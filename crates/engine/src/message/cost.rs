//! What a command about messages costs, known before anybody takes it up.

use super::MessageCommand;

/// What is about more than it names: a slice of what exists.
const LONG: usize = 256;

/// A change of a name, or a description.
const NAME: usize = 8;

impl MessageCommand {
    /// Its share of a turn, in jobs.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Publish(messages) => messages.len(),
            Self::Settle { settlements, credit, .. } => settlements.len() + credit.len(),
            Self::Transact(it) => {
                let settled = it.settlements.len() + it.leased.len();
                1 + it.publishes.len() + settled + it.enqueues.len()
            }
            Self::AddCredit(credit) => credit.len(),
            Self::Blocked { messages, .. } => messages.len(),
            Self::ShareCredit(share) => 1 + share.consumers.len(),
            Self::Untaken { messages, .. } => 1 + messages.len(),
            Self::SettleLeased(settlements) => settlements.len(),
            Self::ExtendLeased { messages, .. } | Self::ReturnLeased(messages) => messages.len(),
            Self::Lease(lease) => lease.max.min(1000),
            Self::Consume(consume) => NAME + consume.credit.messages.min(1000) as usize,
            Self::GetOne { .. } | Self::Cancel { .. } => 1,
            Self::DeclareQueue(_)
            | Self::GetQueue { .. }
            | Self::DeclareExchange(_)
            | Self::GetExchange { .. }
            | Self::Bind(_)
            | Self::Unbind(_) => NAME,
            Self::DeleteQueue { .. }
            | Self::PurgeQueue { .. }
            | Self::DeleteExchange { .. }
            | Self::PutPolicy { .. }
            | Self::DeletePolicy { .. }
            | Self::ListPolicies
            | Self::ListExchanges { .. }
            | Self::ListBindings { .. }
            | Self::CloseConnection { .. } => LONG,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ConsumerId;
    use crate::ids::ConnectionId;
    use crate::message::{LeaseMessages, MessageTag};

    #[test]
    fn what_touches_more_than_it_names_costs_a_slice() {
        let purge = MessageCommand::PurgeQueue { queue: "q".into(), connection: None };
        let close = MessageCommand::CloseConnection { connection: ConnectionId(1) };
        assert_eq!((purge.cost(), close.cost()), (LONG, LONG));
        assert_eq!(MessageCommand::ListPolicies.cost(), LONG);
        let lease = |max| {
            let (queue, wait_ms, lease_ms) = ("q".to_owned(), 0, None);
            Box::new(LeaseMessages { queue, max, wait_ms, lease_ms, auto_ack: false })
        };
        assert_eq!(MessageCommand::Lease(lease(30)).cost(), 30);
        assert_eq!(MessageCommand::Lease(lease(usize::MAX)).cost(), 1000);
        let tag = MessageTag::of(crate::ids::QueueId(1), (0, crate::ids::Place(1)));
        let consumer = ConsumerId(1);
        let untaken = |count| MessageCommand::Untaken { consumer, messages: vec![tag; count] };
        assert_eq!((untaken(0).cost(), untaken(500).cost()), (1, 501));
    }
}
