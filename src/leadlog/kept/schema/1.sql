BEGIN;
-- Scores of leads the CRM accepted, as they were given.
CREATE TABLE scores (
    seq        INTEGER PRIMARY KEY,
    time_ms    INTEGER NOT NULL,  -- milliseconds since 1970
    route      TEXT    NOT NULL,
    lead       TEXT,              -- the CRM's record id; NULL where the traffic did not show it
    arm        TEXT    NOT NULL,  -- the slot that answered
    model      TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    digest     TEXT    NOT NULL,  -- SHA-256 of the version's manifest
    features   TEXT    NOT NULL,  -- JSON object, as scored; missing features left out
    score      REAL    NOT NULL,  -- probability 0..1
    grade      TEXT    NOT NULL,
    latency_ns INTEGER NOT NULL,  -- recognise + score + enrich
    decision   TEXT    NOT NULL   -- request, response, headers, recorded: where the score was written
);
CREATE INDEX scores_lead ON scores (lead) WHERE lead IS NOT NULL;
CREATE INDEX scores_time ON scores (time_ms);
-- What became of leads, as it passed.
CREATE TABLE outcomes (
    seq     INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    route   TEXT    NOT NULL,
    lead    TEXT    NOT NULL,
    won     INTEGER NOT NULL,     -- 1 or 0
    revenue REAL
);
CREATE INDEX outcomes_lead ON outcomes (lead);
PRAGMA user_version = 1;
COMMIT;
