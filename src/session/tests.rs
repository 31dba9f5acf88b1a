//! Transcripts of the session core.
