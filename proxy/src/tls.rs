//! TLS: which certificate a client is shown, and how upstreams are spoken to.

mod accept;
mod certificates;
mod clients;
mod sessions;

pub(crate) use self::{
    accept::{empty_request, handshake},
    certificates::{Certificates, Terms, read_entity},
    clients::{ClientConfigs, Maker, Materials, ServiceTls},
};
