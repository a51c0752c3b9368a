//! One parser, told which role the observed process has, fed by the stream.

use syspan::{
    event::End,
    protocols::{Registration, fastcgi, http1, mysql, postgres},
    streams::BUFFER_LIMIT,
};

use crate::{
    conversation::{Conversation, Player, Step},
    exchanges,
};

/// A conversation in HTTP/1.
pub fn http1(bytes: &[u8]) {
    converse(bytes, &http1::REGISTRATION);
}

/// A conversation in FastCGI.
pub fn fastcgi(bytes: &[u8]) {
    converse(bytes, &fastcgi::REGISTRATION);
}

/// A conversation in PostgreSQL's protocol.
pub fn postgres(bytes: &[u8]) {
    converse(bytes, &postgres::REGISTRATION);
}

/// A conversation in MySQL's protocol.
pub fn mysql(bytes: &[u8]) {
    converse(bytes, &mysql::REGISTRATION);
}

/// Cutting the calls differently changes nothing until something is missing or not understood; no exchange is left open when the connection
/// is closed; what is held has a bound.
fn converse(bytes: &[u8], registration: &Registration) {
    let conversation = Conversation::from_bytes(bytes);
    let mut whole = Player::new(&conversation, registration);
    let mut cut = Player::new(&conversation, registration);
    let mut alike = conversation.from_start;
    for step in &conversation.steps {
        whole.play(step, usize::MAX);
        assert!(whole.connection.held() <= 2 * BUFFER_LIMIT, "{} bytes held", whole.connection.held());
        // When message boundaries have to be found again, it matters what came in one call.
        alike &= !whole.has_lost() && !step.is_missing();
        if alike {
            cut.play(step, conversation.piece);
            alike &= !cut.has_lost();
        }
        if alike {
            assert_eq!(whole.signals, cut.signals, "the same bytes in pieces of {}", conversation.piece);
        }
    }
    exchanges::check(&whole.signals, false);
    whole.play(&Step::End(End::Closed), 1);
    exchanges::check(&whole.signals, true);
}
