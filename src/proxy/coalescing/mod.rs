//! Look-ups of many clients that are asked together: with nothing of its kind under way a look-up goes at once and
//! alone; while one is, others of its kind queue, and leave together as one query when it has landed. Nobody joins a
//! flight that has left. One `Lines` per pool and worker; what may be asked together, and how, `coalesce` decides.

mod deferring;
mod flight;
mod inserting;
mod joining;
mod line;
mod merged;
mod merging;
mod seat;
mod site;
mod survey;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use super::worker::Worker;
use crate::pool::lend::Pool;
use crate::pool::template::Site as SiteId;
use crate::session::lookup::{Lookup, Values};

pub(super) use inserting::Inserting;
pub(super) use seat::Place;
pub(super) use site::Lead;
use site::Site;

/// Kinds of look-ups followed per pool and worker; an application has some hundreds.
const SITES_MAX: usize = 2_000;

/// The look-ups of one pool on one worker.
pub struct Lines {
    worker: Weak<Worker>,
    pool: Weak<Pool>,
    pub inserts: merged::Inserts,
    sites: RefCell<HashMap<SiteId, Rc<Site>, foldhash::fast::RandomState>>,
}

impl Lines {
    pub fn new(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Rc<Self> {
        let (worker, pool) = (Rc::downgrade(worker), Rc::downgrade(pool));
        Rc::new(Lines { worker, pool, inserts: merged::Inserts::default(), sites: RefCell::default() })
    }

    /// What is known of look-ups like this one.
    fn site(&self, lookup: &Lookup, input: &[u8], values: &Values) -> Rc<Site> {
        let mut sites = self.sites.borrow_mut();
        if let Some(site) = sites.get(&lookup.site) {
            return site.clone();
        }
        if sites.len() >= SITES_MAX {
            // Those in use come back at once, and learn anew.
            sites.clear();
        }
        let site = Rc::new(Site::new(lookup, input, values));
        sites.insert(lookup.site, site.clone());
        site
    }
}
