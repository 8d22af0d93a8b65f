//! What a page says something costs: from its JSON-LD, else from the `meta` elements that link previews are made of.
//!
//! ```text
//! html ─► scripts of JSON-LD ─► products ─► the one that is meant ─► its offer
//!     └─► meta ───────────────────────────────────────────────────►┘ where there are no products
//! ```
//!
//! A price that is not told is better than a wrong one. Of several products, or of several prices of one, only what
//! the page's own address or the conversion's content ids name is meant; without such a name nothing is, unless all say
//! the same.

mod json_ld;
mod price;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};

use lol_html::errors::RewritingError;
use lol_html::{HtmlRewriter, MemorySettings, Settings, element, text};
use serde_json::Value;
use url::Url;

pub(super) use price::Offer;

/// Bytes of one script.
const LARGEST_SCRIPT: usize = 512 * 1024;
/// Scripts of one page.
const MOST_SCRIPTS: usize = 64;
/// What the HTML parser may hold.
const PARSER_MEMORY: usize = 4 * 1024 * 1024;
/// A longer price or currency is none.
const LONGEST_META: usize = 64;

/// Where prices are in `meta` elements, with their currencies; the former counts if there are both.
const META: [(&str, &str); 2] =
    [("product:price:amount", "product:price:currency"), ("og:price:amount", "og:price:currency")];

/// What a page says of prices. It can be asked for one conversion after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    place: Option<Place>,
    products: Vec<Product>,
    meta: Option<Offer>,
}

/// A product or a group of variants, whose offers are then those of them all.
#[derive(Clone, Debug, PartialEq)]
struct Product {
    names: Names,
    offers: Vec<Candidate>,
    /// The least of a range.
    lowest: Option<Offer>,
}

/// An offer of a product.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    names: Names,
    offer: Offer,
}

/// What a product or an offer can be known by.
#[derive(Clone, Debug, Default, PartialEq)]
struct Names {
    sku: Option<String>,
    place: Option<Place>,
}

/// An address, without what does not tell pages apart: scheme, fragment, a slash at the end.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

impl Place {
    fn of(url: &Url) -> Self {
        Self {
            host: url.host_str().unwrap_or_default().to_owned(),
            path: url.path().trim_end_matches('/').to_owned(),
            query: url.query_pairs().into_owned().collect(),
        }
    }

    /// How closely this names the page: by so many parameters. `None` where it is another page.
    fn names(&self, page: &Self) -> Option<usize> {
        let same = self.host == page.host
            && self.path == page.path
            && self.query.iter().all(|pair| page.query.contains(pair));
        same.then_some(self.query.len())
    }
}

impl Page {
    /// Reads a page. Whatever is wrong with it, it offers less and no error.
    pub(super) fn read(html: &[u8], url: &Url) -> Self {
        let found = Found::default();
        if found.read(html).is_err() || found.too_much.get() {
            return Self::default();
        }
        let mut reader = json_ld::Reader::new(url);
        for script in found.scripts.borrow().iter() {
            reader.script(script);
        }
        let Some(products) = reader.products() else { return Self::default() };
        Self { place: Some(Place::of(url)), products, meta: found.meta() }
    }

    /// The offer that is meant by a conversion on this page, for what has these ids.
    pub(super) fn offer(&self, content_ids: &[String]) -> Option<Offer> {
        match self.products.as_slice() {
            [] => self.meta.clone(),
            // What shows no price in its data may show it in the preview.
            [product] if product.is_unpriced() => self.meta.clone(),
            [product] => self.pick(product, content_ids),
            products => {
                let named = self.named(products, Product::all_names, content_ids);
                // Reviews often come as the same product once more, without offers.
                let priced = named.into_iter().filter(|product| !product.is_unpriced());
                agreed(priced.map(|product| self.pick(product, content_ids)))
            }
        }
    }

    fn pick(&self, product: &Product, content_ids: &[String]) -> Option<Offer> {
        let offers = |found: &[&Candidate]| agreed(found.iter().map(|found| Some(found.offer.clone())));
        let all: Vec<&Candidate> = product.offers.iter().collect();
        offers(&all)
            .or_else(|| offers(&self.named(&product.offers, |candidate| vec![&candidate.names], content_ids)))
            .or_else(|| product.lowest.clone())
    }

    /// Those that have one of the ids; without any such, those that name this page the most closely. Where ids name
    /// more than one thing, none is meant.
    fn named<'a, T>(
        &self,
        all: &'a [T],
        names: impl Fn(&'a T) -> Vec<&'a Names>,
        content_ids: &[String],
    ) -> Vec<&'a T> {
        let has = |item: &'a T, id: &String| names(item).iter().any(|name| name.sku.as_ref() == Some(id));
        let with = |id| {
            (0..all.len()).filter(|at| all.get(*at).is_some_and(|item| has(item, id))).collect::<Vec<_>>()
        };
        let mut by_id: Vec<_> = content_ids.iter().map(with).filter(|found| !found.is_empty()).collect();
        by_id.dedup();
        match by_id.as_slice() {
            [] => {}
            [found] => return found.iter().filter_map(|at| all.get(*at)).collect(),
            _ => return Vec::new(),
        }
        let Some(page) = &self.place else { return Vec::new() };
        let closeness =
            |item: &'a T| names(item).iter().filter_map(|names| names.place.as_ref()?.names(page)).max();
        let closest = all.iter().filter_map(&closeness).max();
        all.iter().filter(|item| closest.is_some() && closeness(item) == closest).collect()
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let offers: usize = self.products.iter().map(|product| product.offers.len() + 1).sum();
        let texts = self.products.iter().flat_map(Product::all_names).map(Names::bytes).sum::<usize>();
        size_of::<Self>() + offers * size_of::<Product>() + texts
    }
}

impl Product {
    fn is_unpriced(&self) -> bool {
        self.offers.is_empty() && self.lowest.is_none()
    }

    fn all_names(&self) -> Vec<&Names> {
        std::iter::once(&self.names).chain(self.offers.iter().map(|offer| &offer.names)).collect()
    }
}

impl Names {
    fn bytes(&self) -> usize {
        let place = self.place.as_ref().map_or(0, |place| {
            let query =
                place.query.iter().map(|(key, value)| key.len() + value.len() + size_of_val(&(key, value)));
            place.host.len() + place.path.len() + query.sum::<usize>()
        });
        self.sku.as_ref().map_or(0, String::len) + place
    }
}

/// What all of them are; `None` where they are not the same, or there are none.
fn agreed(mut offers: impl Iterator<Item = Option<Offer>>) -> Option<Offer> {
    let first = offers.next()??;
    offers.all(|offer| offer.as_ref() == Some(&first)).then_some(first)
}

/// What is taken out of the HTML.
#[derive(Default)]
struct Found {
    scripts: RefCell<Vec<String>>,
    meta: RefCell<[Vec<String>; 4]>,
    too_much: Cell<bool>,
}

impl Found {
    fn read(&self, html: &[u8]) -> Result<(), RewritingError> {
        let settings = Settings::new()
            .append_element_content_handler(element!(r#"script[type^="application/ld+json" i]"#, |_| {
                self.begin_script();
                Ok(())
            }))
            .append_element_content_handler(text!(r#"script[type^="application/ld+json" i]"#, |chunk| {
                self.more_script(chunk.as_str());
                Ok(())
            }))
            .append_element_content_handler(element!("meta[content]", |meta| {
                let name = meta.get_attribute("property").or_else(|| meta.get_attribute("name"));
                if let (Some(name), Some(content)) = (name, meta.get_attribute("content")) {
                    self.more_meta(name.trim(), &content);
                }
                Ok(())
            }))
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(PARSER_MEMORY))
            // Odd nesting is no reason to give up a page; what it could hide is a price, never more.
            .with_strict(false);
        let mut parser = HtmlRewriter::new(settings, |_: &[u8]| {});
        parser.write(html)?;
        parser.end()
    }

    fn begin_script(&self) {
        let mut scripts = self.scripts.borrow_mut();
        if scripts.len() < MOST_SCRIPTS {
            scripts.push(String::new());
        } else {
            self.too_much.set(true);
        }
    }

    fn more_script(&self, text: &str) {
        if self.too_much.get() {
            return;
        }
        let mut scripts = self.scripts.borrow_mut();
        let Some(script) = scripts.last_mut() else { return };
        if script.len() + text.len() > LARGEST_SCRIPT {
            // A product that is not read could be the one that is meant.
            self.too_much.set(true);
        } else {
            script.push_str(text);
        }
    }

    fn more_meta(&self, name: &str, content: &str) {
        let keys = META.iter().flat_map(|(price, currency)| [*price, *currency]);
        let Some(at) = keys.into_iter().position(|key| key.eq_ignore_ascii_case(name)) else { return };
        if let Some(values) = self.meta.borrow_mut().get_mut(at)
            && content.len() <= LONGEST_META
            && !values.iter().any(|known| known == content)
        {
            values.push(content.to_owned());
        }
    }

    /// The first pair of price and currency of which each has one value.
    fn meta(&self) -> Option<Offer> {
        let meta = self.meta.borrow();
        let mut pairs = meta.chunks_exact(2).map(|pair| match pair {
            [price, currency] => match (price.as_slice(), currency.as_slice()) {
                ([price], [currency]) => {
                    Offer::read(&Value::from(price.as_str()), &Value::from(currency.as_str()))
                }
                _ => None,
            },
            _ => None,
        });
        pairs.find_map(|offer| offer)
    }
}
