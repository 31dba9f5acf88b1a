//! The shell: the only room that moves bytes between clients and servers.
