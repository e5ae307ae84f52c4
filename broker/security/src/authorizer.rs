//! The one place that decides, and the proof that it did.

use std::net::IpAddr;
use std::ops::Deref;

use crate::operation::{Operation, OperationSet, ResourceKind};
use crate::principal::Principal;

/// Who asks, and from where: everything that a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The authenticated identity.
    pub principal: &'a Principal,
    /// The address that the connection comes from.
    pub host: IpAddr,
}

/// A value together with the proof that an operation on it was allowed. It can
/// be made only by [`Authorizer::grant`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted<T> {
    value: T,
    operation: Operation,
}

impl<T> Granted<T> {
    /// The operation that was allowed.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Gives up the proof and keeps the value.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Granted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The authorizer said no; the resource is handed back for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied<T>(pub T);

/// Decides whether a subject may do something.
///
/// Without a configured authorizer everything is allowed, as in Kafka with an
/// empty `authorizer.class.name`.
#[derive(Debug, Default)]
pub struct Authorizer {
    rules: Rules,
}

#[derive(Debug, Default)]
enum Rules {
    /// No authorizer is configured.
    #[default]
    AllowAll,
    /// Nobody may do anything: what a test uses to see that every API asks.
    DenyAll,
}

impl Authorizer {
    /// Allows everything.
    pub fn allow_all() -> Self {
        Self { rules: Rules::AllowAll }
    }

    /// Refuses everything.
    pub fn deny_all() -> Self {
        Self { rules: Rules::DenyAll }
    }

    /// Whether `subject` may do `operation` on the resource.
    pub fn allows(&self, subject: Subject<'_>, operation: Operation, kind: ResourceKind, name: &str) -> bool {
        let allowed = match self.rules {
            Rules::AllowAll => true,
            Rules::DenyAll => false,
        };
        if !allowed {
            tracing::info!(
                target: "millrace::audit",
                principal = %subject.principal,
                host = %subject.host,
                ?operation,
                ?kind,
                name,
                "denied"
            );
        }
        allowed
    }

    /// Hands out `resource` with the proof that `operation` on it is allowed.
    pub fn grant<T: AsRef<str>>(
        &self,
        subject: Subject<'_>,
        operation: Operation,
        kind: ResourceKind,
        resource: T,
    ) -> Result<Granted<T>, Denied<T>> {
        if self.allows(subject, operation, kind, resource.as_ref()) {
            Ok(Granted { value: resource, operation })
        } else {
            Err(Denied(resource))
        }
    }

    /// Every operation that `subject` may do on the resource, for answers that
    /// list them (KIP-430).
    pub fn operations(&self, subject: Subject<'_>, kind: ResourceKind, name: &str) -> OperationSet {
        kind.operations()
            .iter()
            .filter(|&&operation| self.allows(subject, operation, kind, name))
            .fold(OperationSet::default(), |set, &operation| set.with(operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(principal: &Principal) -> Subject<'_> {
        Subject { principal, host: IpAddr::from([127, 0, 0, 1]) }
    }

    #[test]
    fn a_grant_carries_what_was_asked() {
        let nobody = Principal::anonymous();
        let granted =
            Authorizer::allow_all().grant(subject(&nobody), Operation::Read, ResourceKind::Topic, "orders").unwrap();
        assert_eq!((*granted, granted.operation()), ("orders", Operation::Read));
        let denied = Authorizer::deny_all().grant(subject(&nobody), Operation::Read, ResourceKind::Topic, "orders");
        assert_eq!(denied, Err(Denied("orders")));
    }

    #[test]
    fn operations_use_kafkas_bits() {
        let nobody = Principal::anonymous();
        let topic = Authorizer::allow_all().operations(subject(&nobody), ResourceKind::Topic, "orders");
        // What Apache Kafka answers for a topic without an authorizer.
        assert_eq!(topic.bits(), 3576);
        let none = Authorizer::deny_all().operations(subject(&nobody), ResourceKind::Topic, "orders");
        assert_eq!(none.bits(), 0);
    }
}
