//! The part of a frame that is for local reads.

use leasehold_core::local::{Grant, Request, RequestNumber, Return};
use leasehold_core::{Index, Term};
use std::time::Duration;
use wincode::{SchemaRead, SchemaWrite};

/// The part of an envelope that is for local reads. It is empty unless a node asks for subleases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Local {
    /// From a reader, with its acknowledgement of a round: a request for a sublease.
    pub request: Option<SubleaseRequest>,
    /// From a leader: a sublease.
    pub grant: Option<SubleaseGrant>,
    /// From a reader: it uses no sublease of this request or of an earlier one.
    pub returned: Option<RequestNumber>,
    /// From a leader: the receiver should return its subleases.
    pub recall: bool,
}

/// A [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
#[expect(missing_docs, reason = "the fields of a Request")]
pub struct SubleaseRequest {
    pub term: Term,
    pub number: RequestNumber,
    pub drift_ppm: u32,
}

/// A [`Grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
#[expect(missing_docs, reason = "the fields of a Grant")]
pub struct SubleaseGrant {
    pub term: Term,
    pub number: RequestNumber,
    pub length_nanos: u64,
    pub floor: Index,
}

impl Local {
    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Local::default()
    }

    pub(crate) fn returned(&self) -> Option<Return> {
        self.returned.map(|through| Return { through })
    }
}

impl From<Request> for SubleaseRequest {
    fn from(request: Request) -> SubleaseRequest {
        let Request { term, number, drift_ppm } = request;
        SubleaseRequest { term, number, drift_ppm }
    }
}

impl From<SubleaseRequest> for Request {
    fn from(request: SubleaseRequest) -> Request {
        let SubleaseRequest { term, number, drift_ppm } = request;
        Request { term, number, drift_ppm }
    }
}

impl From<Grant> for SubleaseGrant {
    fn from(grant: Grant) -> SubleaseGrant {
        let Grant { term, number, length, floor } = grant;
        // A sublease is shorter than a lease, which is shorter than 146 years.
        let length_nanos = u64::try_from(length.as_nanos()).unwrap_or(0);
        SubleaseGrant { term, number, length_nanos, floor }
    }
}

impl From<SubleaseGrant> for Grant {
    fn from(grant: SubleaseGrant) -> Grant {
        let SubleaseGrant { term, number, length_nanos, floor } = grant;
        Grant { term, number, length: Duration::from_nanos(length_nanos), floor }
    }
}
