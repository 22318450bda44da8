//! Ports for peers that cannot choose one themselves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

/// An address on loopback that nobody listened on a moment ago.
pub(super) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether somebody listens there by now.
pub(super) fn is_open(address: SocketAddr) -> Option<()> {
    TcpStream::connect(address).ok().map(drop)
}
