BEGIN;
-- Outcomes get an id of their own, a revision and the time they happened, and may be told of a deal before it is known which
-- lead became it.
ALTER TABLE outcomes RENAME TO outcomes_1;
DROP INDEX outcomes_lead;
CREATE TABLE outcomes (
    seq         INTEGER PRIMARY KEY,
    time_ms     INTEGER NOT NULL, -- when it passed, milliseconds since 1970
    route       TEXT    NOT NULL,
    lead        TEXT,             -- NULL while only the deal is known
    deal        TEXT,             -- the record that was won or lost, where it is not the lead
    event       TEXT,             -- the outcome's own id; the same one again is ignored
    revision    INTEGER,          -- the highest counts
    occurred_ms INTEGER,          -- when it happened, where the CRM said
    won         INTEGER NOT NULL, -- 1 or 0
    revenue     REAL
);
INSERT INTO outcomes (seq, time_ms, route, lead, won, revenue) SELECT seq, time_ms, route, lead, won, revenue FROM outcomes_1;
DROP TABLE outcomes_1;
CREATE INDEX outcomes_lead ON outcomes (lead) WHERE lead IS NOT NULL;
CREATE INDEX outcomes_unmatched ON outcomes (deal) WHERE lead IS NULL;
CREATE UNIQUE INDEX outcomes_event ON outcomes (coalesce(deal, lead), event) WHERE event IS NOT NULL;
-- Which lead a deal was converted from.
CREATE TABLE aliases (
    deal    TEXT PRIMARY KEY,
    lead    TEXT    NOT NULL,
    time_ms INTEGER NOT NULL
);
CREATE INDEX aliases_time ON aliases (time_ms);
-- What counts of each lead: of its outcomes that of the highest revision, of those the last that happened.
CREATE VIEW labels AS
SELECT lead, won, revenue, revision, time_ms, coalesce(occurred_ms, time_ms) AS occurred_ms, route, deal FROM (
    SELECT *, row_number() OVER (
        PARTITION BY lead ORDER BY coalesce(revision, 0) DESC, coalesce(occurred_ms, time_ms) DESC, seq DESC) AS place
    FROM outcomes WHERE lead IS NOT NULL)
WHERE place = 1;
-- Each label beside the score the lead had when it passed.
CREATE VIEW labelled_scores AS
SELECT labels.lead, model, version, score, grade, won, revenue, scores.time_ms AS scored_ms, occurred_ms
FROM labels JOIN scores ON scores.seq = (
    SELECT max(seq) FROM scores WHERE scores.lead = labels.lead AND scores.time_ms <= labels.time_ms);
PRAGMA user_version = 2;
COMMIT;
