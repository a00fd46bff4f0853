//! tautline's upgrade: the head is read, checked and answered as a server does it, with the machine's own head reader.

use tautline::http::upgrade::{Answer, Upgrade as Check, UpgradeConfig};
use tautline::http::url::Scheme;
use tautline::http::{HeadLimits, RequestReader};
use tautline::{Input, Output};

use crate::cell::Refused;
use crate::upgrade::Upgrade;

pub struct Handshake {
    config: UpgradeConfig,
    limits: HeadLimits,
    out: Output,
}

impl Upgrade for Handshake {
    const NAME: &'static str = "tautline";

    fn new() -> Self {
        // The request's origin is `https`: as behind a listener that ends TLS itself.
        let config = UpgradeConfig { scheme: Scheme::Https, ..UpgradeConfig::default() };
        Handshake { config, limits: HeadLimits::default(), out: Output::new() }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        self.out.clear();
        let mut input = Input::new(request);
        let Ok(Some(ref head)) = RequestReader::new().read(&self.limits, &mut input) else { return Err(Refused) };
        let upgrade = Check::check_head(&self.config, head).map_err(|_| Refused)?;
        let accepted = upgrade.accept(Answer::default()).map_err(|_| Refused)?;
        accepted.write(&mut self.out).map_err(|_| Refused)?;
        self.out.chunks().next().ok_or(Refused)
    }
}
