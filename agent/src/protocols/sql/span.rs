//! One executed statement as a CLIENT span describes it (OpenTelemetry "SQL databases client calls").

use std::borrow::Cow;

use opentelemetry_semantic_conventions::attribute as key;

use super::Statement;
use crate::{
    event::{Address, Time},
    protocols::{Connection, Exchange, Options},
    traces::span::{Attribute, Status, Value},
};

/// One executed statement, as both databases describe it.
#[derive(Debug, Clone)]
pub struct Execution<'a> {
    /// `postgresql`, `mysql` or `mariadb`.
    pub system: &'static str,
    /// Its default port: another one is reported.
    pub default_port: u16,
    /// `db.namespace`.
    pub namespace: Option<String>,
    /// What was executed.
    pub statement: &'a Statement,
    /// First byte of the request.
    pub start: Time,
    /// Last byte of the response.
    pub end: Time,
    /// `db.response.status_code`, if the database sent one that is not plain success.
    pub status_code: Option<String>,
    /// `error.type`: the status code of an error, or `connection_reset`, `timeout`, ….
    pub error: Option<Cow<'static, str>>,
    /// Rows, if known; reported only when the user opted in.
    pub rows: Option<u64>,
    /// `db.operation.batch.size`, if 2 or more.
    pub batch: Option<u64>,
}

impl Execution<'_> {
    /// The exchange, named and with attributes by the database conventions. It never ends before it starts.
    #[must_use]
    pub fn exchange(self, connection: &Connection, options: &Options) -> Exchange {
        let Self { system, default_port, namespace, statement, start, end, status_code, error, rows, batch } = self;
        let name = statement.summary.clone().or_else(|| namespace.clone()).map_or(Cow::Borrowed(system), Cow::Owned);
        let status = if error.is_some() { Status::Error(String::new()) } else { Status::Unset };

        let mut attributes: Vec<Attribute> = Vec::with_capacity(12);
        let mut set = |key: &'static str, value: Option<Value>| {
            attributes.extend(value.map(|value| (Cow::Borrowed(key), value)));
        };
        set(key::DB_SYSTEM_NAME, Some(system.into()));
        set(key::DB_NAMESPACE, namespace.map(Value::from));
        set(key::DB_QUERY_SUMMARY, statement.summary.clone().map(Value::from));
        set(key::DB_QUERY_TEXT, statement.text.clone().map(Value::from));
        match &connection.peer {
            Address::Inet(address, port) => {
                let (address, port_value) = (address.to_string(), i64::from(*port));
                set(key::SERVER_ADDRESS, Some(address.clone().into()));
                set(key::SERVER_PORT, (*port != default_port).then_some(port_value.into()));
                set(key::NETWORK_PEER_ADDRESS, Some(address.into()));
                set(key::NETWORK_PEER_PORT, Some(port_value.into()));
            }
            Address::Unix(_, path) => {
                set(key::SERVER_ADDRESS, path.clone().map(Value::from));
                set(key::NETWORK_PEER_ADDRESS, path.clone().map(Value::from));
                set(key::NETWORK_TRANSPORT, Some("unix".into()));
            }
        }
        set(key::DB_OPERATION_BATCH_SIZE, batch.filter(|size| *size >= 2).map(count));
        set(key::DB_RESPONSE_RETURNED_ROWS, rows.filter(|_| options.returned_rows).map(count));
        set(key::DB_RESPONSE_STATUS_CODE, status_code.map(Value::from));
        set(key::ERROR_TYPE, error.map(Value::from));
        Exchange { name, start, end: end.max(start), attributes, status }
    }
}

fn count(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
