//! JSON-LD of schema.org, as shops write it: products, each with its offers.

use serde_json::{Map, Value};
use url::Url;

use super::{Candidate, Names, Offer, Place, Product};

/// Products and offers that a page has at most; one with more offers nothing.
const MOST_ENTRIES: usize = 1_000;
/// A longer text names nothing.
const LONGEST_SKU: usize = 256;
const LONGEST_URL: usize = 2_048;

/// Reads the products of a page.
pub(super) struct Reader<'a> {
    page: &'a Url,
    products: Vec<Product>,
    entries: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(page: &'a Url) -> Self {
        Self { page, products: Vec::new(), entries: 0 }
    }

    /// Takes in a script. One that is no JSON, as templates often make, says nothing.
    pub(super) fn script(&mut self, text: &str) {
        // serde_json refuses what is nested deeper than 128, which bounds the recursion here.
        if let Ok(value) = serde_json::from_str(text) {
            self.node(&value);
        }
    }

    /// The products, each once; `None` where there are too many.
    pub(super) fn products(self) -> Option<Vec<Product>> {
        (self.entries <= MOST_ENTRIES).then_some(self.products)
    }

    fn node(&mut self, value: &Value) {
        for node in objects(value) {
            if is(node, &["Product", "ProductGroup"]) {
                self.product(node);
                continue;
            }
            for within in ["@graph", "mainEntity"].into_iter().filter_map(|key| node.get(key)) {
                self.node(within);
            }
        }
    }

    fn product(&mut self, node: &Map<String, Value>) {
        self.entries += 1;
        let mut product = Product { names: self.names(node), offers: Vec::new(), lowest: None };
        self.offers_of(node, &Names::default(), &mut product);
        for variant in node.get("hasVariant").into_iter().flat_map(objects) {
            let names = self.names(variant);
            self.offers_of(variant, &names, &mut product);
        }
        // Pages often have the same block twice.
        if self.entries <= MOST_ENTRIES && !self.products.contains(&product) {
            self.products.push(product);
        }
    }

    /// Adds the offers of a product or variant. What an offer does not say of itself, `names` says.
    fn offers_of(&mut self, node: &Map<String, Value>, names: &Names, product: &mut Product) {
        for offer in node.get("offers").into_iter().flat_map(objects) {
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return;
            }
            let own = self.names(offer);
            let names = Names {
                sku: own.sku.or_else(|| names.sku.clone()),
                place: own.place.or_else(|| names.place.clone()),
            };
            let price = priced(offer).or_else(|| specified(offer));
            product.offers.extend(price.map(|offer| Candidate { names: names.clone(), offer }));
            if is(offer, &["AggregateOffer"]) {
                let lowest = read(offer, "lowPrice", offer);
                if product.lowest.is_none() {
                    product.lowest = lowest;
                }
                self.offers_of(offer, &names, product);
            }
        }
    }

    fn names(&self, node: &Map<String, Value>) -> Names {
        let sku = match node.get("sku") {
            Some(Value::String(sku)) => Some(sku.trim().to_owned()),
            Some(Value::Number(sku)) => Some(sku.to_string()),
            _ => None,
        };
        let url = node.get("url").and_then(Value::as_str).filter(|url| url.len() <= LONGEST_URL);
        Names {
            sku: sku.filter(|sku| !sku.is_empty() && sku.len() <= LONGEST_SKU),
            place: url.and_then(|url| self.page.join(url.trim()).ok()).map(|url| Place::of(&url)),
        }
    }
}

fn priced(offer: &Map<String, Value>) -> Option<Offer> {
    read(offer, "price", offer)
}

/// The price of the only specification that is neither crossed out, nor for a measure of it, nor for members.
fn specified(offer: &Map<String, Value>) -> Option<Offer> {
    let prices = offer.get("priceSpecification").into_iter().flat_map(objects);
    let mut paid = prices.filter(|price| {
        let kind = price.get("priceType").and_then(Value::as_str).map_or("SalePrice", last_word);
        let special = ["referenceQuantity", "validForMemberTier"];
        kind == "SalePrice" && !special.iter().any(|key| price.contains_key(*key))
    });
    match (paid.next(), paid.next()) {
        (Some(price), None) => read(price, "price", offer),
        _ => None,
    }
}

/// A price with its own currency, else with that of the offer it belongs to.
fn read(node: &Map<String, Value>, price: &str, offer: &Map<String, Value>) -> Option<Offer> {
    let currency = node.get("priceCurrency").or_else(|| offer.get("priceCurrency"))?;
    Offer::read(node.get(price)?, currency)
}

/// The objects of what may be one or a list of them.
fn objects(value: &Value) -> Box<dyn Iterator<Item = &Map<String, Value>> + '_> {
    match value {
        Value::Object(object) => Box::new(std::iter::once(object)),
        Value::Array(list) => Box::new(list.iter().flat_map(objects)),
        _ => Box::new(std::iter::empty()),
    }
}

fn is(node: &Map<String, Value>, kinds: &[&str]) -> bool {
    let named = |kind: &Value| kind.as_str().is_some_and(|kind| kinds.contains(&last_word(kind)));
    match node.get("@type") {
        Some(Value::Array(list)) => list.iter().any(named),
        Some(kind) => named(kind),
        None => false,
    }
}

/// `Product` of `https://schema.org/Product`, of `schema:Product` and of itself.
fn last_word(text: &str) -> &str {
    text.rsplit(['/', '#', ':']).next().unwrap_or(text)
}
