//! What can go wrong, in words for whoever typed the command.

use millrace_metadata::ErrorCode;
use millrace_wire::ClientError;
use thiserror::Error;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Error {
    /// No bootstrap server answers.
    #[error(
        "cannot reach a broker at {servers}: {reason}\n  Is it running? Another address is given with --bootstrap-server host:port."
    )]
    Unreachable { servers: String, reason: String },
    /// A call failed on its way.
    #[error("{0}")]
    Call(#[from] ClientError),
    /// The cluster said no.
    #[error("{subject}: {message} ({})", .code.name())]
    Refused { subject: String, code: ErrorCode, message: String },
    /// The request makes no sense, or the answer does not.
    #[error("{0}")]
    Usage(String),
}

/// Turns an error code of an answer into an error about `subject`.
pub fn check(subject: &str, code: i16, message: Option<&str>) -> Result<(), Error> {
    let code = match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => return Ok(()),
        Some(code) => code,
        None => ErrorCode::UnknownServerError,
    };
    Err(Error::Refused {
        subject: subject.to_owned(),
        code,
        message: message.filter(|text| !text.is_empty()).unwrap_or(code.default_message()).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_words_come_first() {
        assert!(check("topic a", 0, Some("unused")).is_ok());
        let told = check("topic a", 36, Some("it is there already")).unwrap_err();
        assert_eq!(told.to_string(), "topic a: it is there already (TOPIC_ALREADY_EXISTS)");
        let silent = check("topic a", 3, None).unwrap_err();
        assert!(silent.to_string().ends_with("(UNKNOWN_TOPIC_OR_PARTITION)"));
    }
}
