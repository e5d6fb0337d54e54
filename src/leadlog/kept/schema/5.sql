BEGIN;
-- What people said of a score. It is never a label.
CREATE TABLE feedback (
    seq     INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,  -- milliseconds since 1970
    lead    TEXT    NOT NULL,
    source  TEXT    NOT NULL,  -- api, or the name of the route it passed on
    verdict TEXT    NOT NULL,  -- up or down
    reason  TEXT,              -- a word of a closed set
    who     TEXT,              -- who said it, where that was told
    note    TEXT               -- free text; never a feature
);
CREATE INDEX feedback_lead ON feedback (lead);
-- Leads that were removed on request. What was exported before can be found by the hash.
CREATE TABLE forgotten (
    seq         INTEGER PRIMARY KEY,
    lead_sha256 TEXT    NOT NULL UNIQUE,  -- hex
    time_ms     INTEGER NOT NULL,
    rows        INTEGER NOT NULL          -- removed, over all tables
);
-- How far the spill files have been read: written in the transaction that writes what they held.
CREATE TABLE spill (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    segment INTEGER NOT NULL,
    offset  INTEGER NOT NULL
);
-- Each lead's place in the sketches, by the version that scored it: the score that counts of it, and its label.
CREATE TABLE counted (
    lead    TEXT    NOT NULL,
    model   TEXT    NOT NULL,
    version TEXT    NOT NULL,
    time_ms INTEGER NOT NULL,  -- of that score
    score   REAL    NOT NULL,
    grade   TEXT    NOT NULL,
    won     INTEGER,           -- 1 or 0; NULL while open
    revenue REAL,
    PRIMARY KEY (lead, model, version)
) WITHOUT ROWID;
-- Leads whose outcomes have changed since they were counted.
CREATE TABLE recount (lead TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER outcomes_told AFTER INSERT ON outcomes WHEN NEW.lead IS NOT NULL BEGIN
    INSERT INTO recount SELECT NEW.lead WHERE NOT EXISTS (SELECT 1 FROM recount WHERE lead = NEW.lead);
END;
CREATE TRIGGER outcomes_changed AFTER UPDATE ON outcomes BEGIN
    INSERT INTO recount SELECT NEW.lead
    WHERE NEW.lead IS NOT NULL AND NOT EXISTS (SELECT 1 FROM recount WHERE lead = NEW.lead);
    INSERT INTO recount SELECT OLD.lead
    WHERE OLD.lead IS NOT NULL AND NOT EXISTS (SELECT 1 FROM recount WHERE lead = OLD.lead);
END;
-- The last row of scores that has been counted.
CREATE TABLE counted_to (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    seq        INTEGER NOT NULL,
    horizon_ms INTEGER NOT NULL,
    relabelled TEXT              -- the last lead whose label follows a new horizon; NULL when all do
);
-- A lead that is forgotten is named nowhere, and labels are followed from the one before.
CREATE TRIGGER counted_removed AFTER DELETE ON counted BEGIN
    UPDATE counted_to SET relabelled = coalesce((SELECT max(lead) FROM counted WHERE lead < OLD.lead), '')
    WHERE relabelled = OLD.lead;
END;
-- The seq of a last row that is removed is given again.
CREATE TRIGGER scores_removed AFTER DELETE ON scores WHEN OLD.seq > coalesce((SELECT max(seq) FROM scores), 0) BEGIN
    UPDATE counted_to SET seq = min(seq, coalesce((SELECT max(seq) FROM scores), 0));
END;
-- Scores and outcomes by version and day of the score; they add up, and outlive the rows they were counted from.
CREATE TABLE sketches (
    seq     INTEGER PRIMARY KEY,
    model   TEXT    NOT NULL,
    version TEXT    NOT NULL,
    day     INTEGER NOT NULL,  -- days since 1970, UTC
    scored  BLOB    NOT NULL,  -- leads by bin of score and by grade, whatever became of them
    known   BLOB    NOT NULL,  -- those with an outcome, and what they brought
    UNIQUE (model, version, day)
);
-- A lead is found in every table without a look at all of it.
CREATE INDEX shadow_scores_lead ON shadow_scores (lead) WHERE lead IS NOT NULL;
CREATE INDEX exposures_lead ON exposures (lead);
CREATE INDEX aliases_lead ON aliases (lead);
CREATE INDEX outcomes_deal ON outcomes (deal) WHERE deal IS NOT NULL;
PRAGMA user_version = 5;
COMMIT;
