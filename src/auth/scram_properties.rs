//! SCRAM over arbitrary bytes: no message makes either side panic, and none but the right proof gets in.
//! The fuzz targets in `fuzz/` check the same with coverage to guide them; this is the bounded run.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::scram::{MAX_MESSAGE, Mechanism, Offer};
use super::scram_client::{Credential, ScramClient};
use super::scram_keys::{ClientKeys, Verifier};
use super::scram_server::ScramServer;
use super::{Secret, md5::Md5Secret};

/// Anything, and texts made of SCRAM's own pieces, which get further than noise does.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("n,,"),
        Just("y,,"),
        Just("p=tls-server-end-point,,"),
        Just("n="),
        Just("r="),
        Just("s="),
        Just("i="),
        Just("c="),
        Just("p="),
        Just("v="),
        Just("e="),
        Just("m="),
        Just(","),
        Just("="),
        Just("AA=="),
        Just("biws"),
        Just("4096"),
        Just("99999999999"),
        Just("x"),
        Just("\0"),
        Just("\u{e9}"),
        Just("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(piece, 0..20).prop_map(|pieces| pieces.concat().into_bytes()),
        vec(any::<u8>(), MAX_MESSAGE - 2..MAX_MESSAGE + 3),
    ]
}

fn mechanism() -> impl Strategy<Value = Mechanism> {
    prop_oneof![Just(Mechanism::Sha256), Just(Mechanism::Sha256Plus)]
}

fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::derive(b"pencil", b"salt", 2))
}

fn client(password: &str, offer: Offer, binding: Option<Vec<u8>>) -> ScramClient {
    let credential = Credential::Password { password: password.to_owned(), cached: None };
    ScramClient::new(credential, offer, binding, [2; 18]).expect("an offer that can be met")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_arbitrary_gets_past_the_server(
        mechanism in mechanism(), tls: bool, first in message(), last in message(),
    ) {
        let binding = tls.then(|| vec![7; 32]);
        let mut server = ScramServer::new(verifier(), binding.clone(), [1; 18]);
        let _ = server.client_first(mechanism, &first);
        prop_assert!(server.client_final(&last).is_err());
        // A well-formed beginning lets the final message be read in full.
        let mut server = ScramServer::new(verifier(), binding, [1; 18]);
        server.client_first(Mechanism::Sha256, b"n,,n=,r=x").expect("well-formed");
        prop_assert!(server.client_final(&last).is_err());
    }

    #[test]
    fn nothing_arbitrary_convinces_the_client(tail in message(), last in message()) {
        let offer = Offer { sha256: true, sha256_plus: false };
        let mut ours = client("pencil", offer, None);
        // Counts that would take long are for the operator's patience, not for this test.
        if !ours.will_derive(&tail) {
            prop_assert!(ours.server_first(&tail).is_err());
        }
        let mut ours = client("pencil", offer, None);
        let challenge = format!("r={}x,s=AA==,i=1", ours.nonce);
        ours.server_first(challenge.as_bytes()).expect("well-formed");
        prop_assert!(ours.server_final(&last).is_err());
        prop_assert!(ours.into_keys().is_none());
    }

    #[test]
    fn only_the_right_password_gets_in(
        right in ".{0,20}", wrong in ".{0,20}", salt in vec(any::<u8>(), 1..40), iterations in 1u32..4, tls: bool,
    ) {
        let stored = Verifier::derive(right.as_bytes(), &salt, iterations);
        prop_assert!(Verifier::parse(&stored.to_text()).as_ref() == Some(&stored));
        let same = Verifier::derive(wrong.as_bytes(), &salt, iterations) == stored;
        for (password, expected) in [(&right, true), (&wrong, same)] {
            let binding = tls.then(|| vec![7; 32]);
            let mut server = ScramServer::new(Arc::new(stored.clone()), binding.clone(), [1; 18]);
            let mut ours = client(password, server.offer(), binding);
            let (mechanism, first) = ours.first();
            let challenge = server.client_first(mechanism, &first).expect("our own message");
            let last = ours.server_first(&challenge).expect("our own challenge");
            let outcome = server.client_final(&last);
            prop_assert_eq!(outcome.is_ok(), expected);
            if let Ok(outcome) = outcome {
                prop_assert!(ours.server_final(&outcome.server_final).is_ok());
                prop_assert!(outcome.keys == ClientKeys::derive(right.as_bytes(), &salt, iterations));
            }
        }
    }

    #[test]
    fn one_changed_byte_is_noticed(at in 0usize..200, to: u8) {
        let mut server = ScramServer::new(verifier(), None, [1; 18]);
        let mut ours = client("pencil", server.offer(), None);
        let (mechanism, first) = ours.first();
        let challenge = server.client_first(mechanism, &first).expect("our own message");
        let mut last = ours.server_first(&challenge).expect("our own challenge");
        let at = at % last.len();
        prop_assume!(last[at] != to);
        last[at] = to;
        prop_assert!(server.client_final(&last).is_err());
    }

    #[test]
    fn a_changed_challenge_is_noticed(at in 0usize..200, to: u8) {
        let mut server = ScramServer::new(verifier(), None, [1; 18]);
        let mut ours = client("pencil", server.offer(), None);
        let (mechanism, first) = ours.first();
        let mut challenge = server.client_first(mechanism, &first).expect("our own message");
        let at = at % challenge.len();
        prop_assume!(challenge[at] != to);
        challenge[at] = to;
        if let Ok(last) = ours.server_first(&challenge) {
            prop_assert!(server.client_final(&last).is_err());
        }
    }

    #[test]
    fn stored_secrets_of_any_shape(text in "(SCRAM-SHA-256)?(md5)?[$:A-Za-z0-9+/=]{0,60}", list in vec(any::<u8>(), 0..80)) {
        let _ = (Verifier::parse(&text), Md5Secret::parse(&text), Offer::parse(&list));
        let (Secret::Plain(kept) | Secret::Md5(kept) | Secret::Scram(kept)) = Secret::from_stored(text.as_str());
        prop_assert_eq!(kept, text);
    }
}
