BEGIN;
-- Experiments: which arm a lead was assigned to, and what the versions say that do not answer.
ALTER TABLE scores ADD COLUMN experiment TEXT;  -- the challenger's version while one runs
ALTER TABLE scores ADD COLUMN assigned TEXT;    -- the arm by assignment; "arm" is the one that answered
ALTER TABLE scores ADD COLUMN bucket INTEGER;   -- 0..10000
ALTER TABLE scores ADD COLUMN key TEXT;         -- id, email, phone, request: what the bucket was computed from
ALTER TABLE scores ADD COLUMN propensity REAL;  -- how likely the assigned arm was
ALTER TABLE scores ADD COLUMN fell TEXT;        -- why the champion answered for the challenger: failed, features, out
CREATE INDEX scores_experiment ON scores (model, experiment, time_ms) WHERE experiment IS NOT NULL;
-- The first time that each lead met an experiment, scored or not.
CREATE TABLE exposures (
    model      TEXT    NOT NULL,
    experiment TEXT    NOT NULL,  -- the challenger's version
    lead       TEXT    NOT NULL,
    arm        TEXT    NOT NULL,  -- by assignment
    bucket     INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    time_ms    INTEGER NOT NULL,
    scored     INTEGER NOT NULL,  -- 1 or 0
    PRIMARY KEY (model, experiment, lead)
) WITHOUT ROWID;
-- Leads of an experiment that got no score because their arm failed or took too long, each time. None that only a request told.
CREATE TABLE misses (
    seq        INTEGER PRIMARY KEY,
    time_ms    INTEGER NOT NULL,
    model      TEXT    NOT NULL,
    experiment TEXT    NOT NULL,
    arm        TEXT    NOT NULL,  -- by assignment
    outcome    TEXT    NOT NULL   -- failed or late
);
CREATE INDEX misses_experiment ON misses (model, experiment, time_ms);
-- What versions said of a lead that another one answered.
CREATE TABLE shadow_scores (
    seq          INTEGER PRIMARY KEY,
    time_ms      INTEGER NOT NULL,  -- of the score that was given
    lead         TEXT,
    model        TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    slot         TEXT    NOT NULL,  -- shadow, or the arm that did not answer
    live_version TEXT    NOT NULL,  -- the version that answered
    live_score   REAL    NOT NULL,
    live_grade   TEXT    NOT NULL,
    live_ns      INTEGER NOT NULL,  -- scoring alone, on the same thread as latency_ns
    score        REAL,              -- NULL where it failed
    grade        TEXT,
    latency_ns   INTEGER NOT NULL,
    error        TEXT               -- score, panic or features
);
CREATE INDEX shadow_scores_version ON shadow_scores (model, version, time_ms);
PRAGMA user_version = 4;
COMMIT;
