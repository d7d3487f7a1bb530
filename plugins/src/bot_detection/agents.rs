//! What well-known crawlers and programs call themselves.
//!
//! The names are those of the list that Kong's plugin goes by, which comes from the ua-parser
//! project (uap-core, Apache-2.0).

use std::sync::OnceLock;

use regex::{Regex, RegexSet};

/// Whether a User-Agent header names a crawler or a program.
pub(super) fn is_known(agent: &str) -> bool {
    static NAMES: OnceLock<Option<Regex>> = OnceLock::new();
    static SHAPES: OnceLock<Option<RegexSet>> = OnceLock::new();
    let names = NAMES.get_or_init(|| Regex::new(&any_name()).ok());
    let shapes = SHAPES.get_or_init(|| RegexSet::new(SHAPE).ok());
    names.as_ref().is_some_and(|names| names.is_match(agent))
        || shapes.as_ref().is_some_and(|shapes| shapes.is_match(agent))
}

/// Names that are enough by themselves, wherever they stand; a blank stands for a blank.
fn any_name() -> String {
    let names: Vec<String> = NAME.split_whitespace().map(name_pattern).collect();
    names.join("|")
}

/// `_` stands for a blank.
fn name_pattern(name: &str) -> String {
    regex::escape(name).replace('_', " ")
}

const NAME: &str = "
    Google-HTTP-Java-Client Apache-HttpClient Go-http-client scalaj-http http%20client
    Python-urllib HttpMonitor TLSProber WinHTTP JNLP okhttp aihttp reqwest axios
    unirest-java unirest-python unirest-ruby unirest-nodejs unirest-php unirest-net
    CSimpleSpider Cityreview_Robot CrawlDaddy CrawlFire Finderbots Index_crawler Job_Roboter
    KiwiStatus_Spider Lijit_Crawler QuerySeekerSpider ScollSpider Trends_Crawler USyd-NLP-Spider
    SiteCat_Webbot BotName/$BotVersion 123metaspider-Bot 1470.net_crawler 50.nu
    8bo_Crawler_Bot Aboundex AdsBot-Google altavista AppEngine-Google archiver Ask_Jeeves bingbot
    BingPreview blitzbot BlogBridge Bloglovin BoardReader_Blog_Indexer BoardReader_Favicon_Fetcher
    boitho.com-dc BotSeer BUbiNG Catchpoint Charlotte charlotte Checklinks clumboot
    Comodo_HTTP(S)_Crawler Comodo-Webinspector-Crawler ConveraCrawler CRAWL-E CrawlConvera Daumoa
    Feed_Seeker_Bot Feedbin findlinks Flamingo_SearchEngine FollowSite_Bot furlbot Genieo gigabot
    GomezAgent gonzo1 Googlebot Google_SketchUp grub-client gsa-crawler heritrix HiddenMarket holmes
    HooWWWer htdig ia_archiver ICC-Crawler Icarus6j ichiro IconSurf IlTrovatore InfuzApp
    Innovazion_Crawler InternetArchive KaloogaBot Kraken Kurzor larbin LEIA LesnikBot Linguee_Bot
    LinkAider LinkedInBot Lite_Bot Llaut lycos Mail.RU_Bot masscan masidani_bot Mediapartners-Google
    mogimogi mozDex MJ12bot msnbot msrbot Mtps_Feed_Aggregation_System netresearch Netvibes
    NewsGator Nutch Nymesis ObjectsSearch OgScrper Orbiter OOZBOT PagePeeker PagesInventory
    PaxleFramework Peeplo_Screenshot_Bot PlantyNet_WebRobot Pompos Qwantify Read%20Later Reaper
    RedCarpet Retreiver Riddler Rival_IQ scooter Scrapy Scrubby searchsight seekbot
    semanticdiscovery SemrushBot Simpy SimplePie SEOstats SimpleRSS SiteCon Slackbot-LinkExpanding
    Slack-ImgProxy Slurp snappy Speedy_Spider Squrl_Java Stringer TheUsefulbot ThumbShotsBot
    Thumbshots.ru Tiny_Tiny_RSS Twitterbot WhatsApp URL2PNG Vagabondo VoilaBot Votay_bot Web-sniffer
    WebThumb WhatWeb WIRE WordPress Wotbox www.almaden.ibm.com yacy YahooSeeker YodaoBot
    YottaaMonitor
    Yowedo ZeBot_www.ze.bz ZooShot ZyBorg
";

/// What is known by its shape: names at the beginning or beside others, with versions.
const SHAPE: &[&str] = &[
    // Names that count with a version behind them.
    r"Pingdom\.com_bot_version_[0-9]+\.[0-9]",
    r"facebookexternalhit/[0-9]+\.[0-9]",
    r"\b(?:Boto3?|JetS3t|s3fs|aws-(?:cli|sdk-(?:cpp|go|java|nodejs|ruby2?|dotnet-(?:[0-9]{1,2}|core))))/[0-9]+\.[0-9]",
    r"\b(?:008|Altresium|Argus|BaiduMobaider|BoardReader|DNSGroup|DataparkSearch|EDI|Goodzer|Grub)/[0-9]",
    r"\b(?:INGRID|Infohelfer|LOOQ|Peew|PostPost|Steeler|VSE|WebCrunch|WebZIP|Y!J-BR[A-Z])/[0-9]",
    r"\b(?:envolk|sproose|wminer)/[0-9]",
    r"Google.*/\+/web/snippet",
    r" PTST/[0-9]+\.?[0-9]+$",
    r"MSIE [0-9]+\.[0-9]+.*;.* MSIECrawler",
    // Names with variants, or bound to a place.
    r"^(?:NING|vortex|voyager|Zao)",
    r"archive.{0,30}\.org_bot",
    r"Accoona-[A-z]{1,30}-Agent",
    r"[Bb]ai[Dd]u[Ss]pider-[A-Za-z]",
    r"favicon|\bYeti|\bjbot\b",
    r"IP2[a-z]{1,30}Bot",
    r"Microsoft .{0,30} Bot",
    r"WASALive.Bot|WeSEE:[A-z]|Xenu(?:.s)? Link Sleuth|Xerka [A-z]{1,30}Bot|Yandex\w",
    // Names that say what they are, with a version behind them.
    r"/(?:(?:Ant-)?Nutch|[A-z]+[Bb]ot|[A-z]+[Ss]pider|Axtaris|fetchurl|Isara|ShopSalad|Tailsweep)[ \-][0-9]",
    r"(?:[Aa]rchiver|[Ii]ndexer|[Ss]craper|[Bb]ot|[Ss]pider|[Cc]rawl[a-z]{0,50})[/ ][0-9]",
    // And those that say it without one.
    r"(?:[Ss][Pp][Ii][Dd][Ee][Rr]|[Ss]crape|[Cc][Rr][Aa][Ww][Ll])",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_can_be_read() {
        assert!(Regex::new(&any_name()).is_ok());
        assert!(RegexSet::new(SHAPE).is_ok());
    }
}
