//! etcd's protocol: gRPC through tonic, as in the crate `etcd-client`, with the three calls that are needed here.
//!
//! The messages are written by hand instead of generated, so that the build needs no protobuf compiler. Fields that are
//! not used here are left out and skipped in decoding.

use super::{Connection, Operation, VALUE};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// Always false here: reads are linearizable.
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

/// A client with at most one call in flight.
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    async fn call<Request, Response>(&mut self, path: &'static str, request: Request) -> Result<Response, String>
    where
        Request: prost::Message + 'static,
        Response: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| error.to_string())?;
        let codec = ProstCodec::<Request, Response>::default();
        let answer = self.grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| format!("etcd: {status}"))
    }
}

impl Connection for Client {
    /// Opens one HTTP/2 connection for all, as clones of an `etcd-client` share one. With a connection per client, etcd
    /// serves about half as many requests.
    async fn open(port: u16, clients: u32) -> Result<Vec<Client>, String> {
        let endpoint = Endpoint::new(format!("http://127.0.0.1:{port}")).map_err(|error| error.to_string())?;
        let channel = endpoint.tcp_nodelay(true).connect().await.map_err(|error| error.to_string())?;
        Ok((0..clients).map(|_| Client { grpc: Grpc::new(channel.clone()) }).collect())
    }

    /// Executes one after the other: no load of this protocol has several in flight.
    async fn execute(&mut self, operations: &[Operation<'_>]) -> Result<(), String> {
        for operation in operations {
            match operation {
                Operation::Get(key) => {
                    let request = RangeRequest { key: (*key).into(), serializable: false };
                    let found: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
                    if found.pairs.len() != 1 {
                        return Err(format!("etcd has no {key}"));
                    }
                }
                Operation::Set(key) => {
                    let request = PutRequest { key: (*key).into(), value: VALUE.into() };
                    let _put: PutResponse = self.call("/etcdserverpb.KV/Put", request).await?;
                }
            }
        }
        Ok(())
    }
}

/// Returns whether the node at this port is the leader.
pub(crate) fn leads(port: u16) -> bool {
    let Ok(runtime) = super::runtime() else { return false };
    let status = runtime.block_on(async {
        let mut client = Client::open(port, 1).await.ok()?.pop()?;
        client.call::<_, StatusResponse>("/etcdserverpb.Maintenance/Status", StatusRequest {}).await.ok()
    });
    status
        .is_some_and(|status| status.leader != 0 && status.header.is_some_and(|header| header.member == status.leader))
}
