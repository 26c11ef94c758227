/*
 * Reads a recorded time in SQL: the same as `toTime` in src/job/time.ts, for the columns that lists and the pruner
 * search. test/store/postgres/times.test.ts holds both to the same values.
 *
 * Postgres' own conversions are not used: they depend on the settings of the session, accept other forms, and throw. A
 * time is text here, whatever type a program writes: Postgres converts numbers and timestamps when they are assigned.
 *
 * No text in the function has a backslash: it would mean another thing where a session has turned
 * standard_conforming_strings off.
 */

const digits = (count: number): string => `[0-9]{${count}}`
const common = `^${digits(4)}-${digits(2)}-${digits(2)}T${digits(2)}:${digits(2)}:${digits(2)}[.]${digits(3)}Z$`

// RFC 5322 and HTTP, with or without the day's name; Date.toString() of JavaScript; a year of six digits.
const toIsoForm = `
    parts := regexp_match(iso, '^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4} .*)$');
    IF parts IS NOT NULL THEN
      iso := parts[2] || ' ' || parts[1] || ' ' || parts[3];
    END IF;
    iso := regexp_replace(iso, '^[A-Z][a-z]{2}, |^[+]00(?=[0-9]{4}-)', '');
    parts := regexp_match(iso, '^([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4})( .*)$');
    IF parts IS NOT NULL THEN
      month := position(parts[2] IN 'JanFebMarAprMayJunJulAugSepOctNovDec');
      IF month % 3 <> 1 THEN RETURN NULL; END IF;
      iso := parts[3] || '-' || lpad((month / 3 + 1)::text, 2, '0') || '-' || lpad(parts[1], 2, '0') || parts[4];
    END IF;`

const dateForm = '^([0-9]{4})(?:-([0-9]{2})-([0-9]{2})|-([0-9]{3})|-W([0-9]{2})-([1-7])|W([0-9]{2})([1-7])' +
  '|([0-9]{2})([0-9]{2})|([0-9]{3}))(.*)$'
const timeForm = '^[Tt ]([0-9]{2})(?::([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?|:([0-9]{2})' +
  '|([0-9]{2})([0-9]{2})(?:[.,]([0-9]+))?|([0-9]{2}))?(.*)$'
const offsetForm = '^([-+])([0-9]{2})(?::([0-9]{2}):([0-9]{2})|:([0-9]{2})|([0-9]{2}))?(.*)$'
// [Europe/Paris] of Java, (Central European Time) of JavaScript, ` CET m=+0.1` of Go.
const zoneId = '^[[].+]$'
const zoneName = '^ (?:[(].+[)]|[A-Za-z0-9+-]+(?: m=[-0-9.+]*)?)$'

/** A recorded time in ms since 1970; null for a text that is none. */
export const recordedTime = `
CREATE FUNCTION JobTime(recorded text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $function$
DECLARE
  iso text := recorded;
  digits text;
  fraction text := '';
  rest text := '';
  parts text[];
  whole bigint;
  part double precision;
  year int;
  month int;
  day int;
  dayOfYear int;
  week int;
  weekday int;
  isLeap int;
  newYear int;
  firstMonday int;
  hour int := 0;
  minute int := 0;
  second int := 0;
  thousandths int := 0;
  offsetSeconds int := 0;
  ms bigint;
BEGIN
  IF recorded ~ '${common}' THEN
    year := substr(recorded, 1, 4);
    month := substr(recorded, 6, 2);
    day := substr(recorded, 9, 2);
    hour := substr(recorded, 12, 2);
    minute := substr(recorded, 15, 2);
    second := substr(recorded, 18, 2);
    thousandths := substr(recorded, 21, 3);
  ELSE
    IF octet_length(recorded) > 128 THEN RETURN NULL; END IF;
    -- How SQLite and Postgres write a number of 16 digits and more.
    parts := regexp_match(recorded, '^([1-9])[.]([0-9]+)e[+](1[4-6])$');
    IF parts IS NOT NULL THEN
      digits := rpad(parts[1] || parts[2], parts[3]::int + 1, '0');
    ELSE
      parts := regexp_match(recorded, '^([0-9]{1,17})(?:[.]([0-9]*))?$');
      digits := parts[1];
      fraction := left(coalesce(parts[2], ''), 15);
    END IF;
    IF digits IS NOT NULL THEN
      whole := digits;
      part := ('0' || fraction)::double precision / ('1' || repeat('0', length(fraction)))::double precision;
      IF part = 0 AND (length(digits) = 8 OR (length(digits) = 7 AND whole <= 2400000)) THEN
        iso := digits;
      ELSE
        ms := CASE
          WHEN whole < 10000000 THEN whole * 86400000 - 210866760000000 + floor(part * 86400000 + 0.5)::bigint
          WHEN whole < 100000000 THEN NULL
          WHEN whole < 100000000000 THEN whole * 1000 + floor(part * 1000 + 0.5)::bigint
          WHEN whole < 100000000000000 THEN whole + floor(part + 0.5)::bigint
          ELSE whole / 1000 END;
        RETURN CASE WHEN ms BETWEEN -62167219200000 AND 253402300799999 THEN ms END;
      END IF;
    END IF;
${toIsoForm}
    parts := regexp_match(iso, '${dateForm}');
    IF parts IS NULL THEN RETURN NULL; END IF;
    year := parts[1];
    month := coalesce(parts[2], parts[9]);
    day := coalesce(parts[3], parts[10]);
    dayOfYear := coalesce(parts[4], parts[11]);
    week := coalesce(parts[5], parts[7]);
    weekday := coalesce(parts[6], parts[8]);
    rest := parts[12];
    IF rest <> '' THEN
      parts := regexp_match(rest, '${timeForm}');
      IF parts IS NULL THEN RETURN NULL; END IF;
      hour := parts[1];
      minute := coalesce(parts[2], parts[5], parts[6], parts[9], '0');
      second := coalesce(parts[3], parts[7], '0');
      -- Digits behind the milliseconds are cut off.
      thousandths := rpad(coalesce(parts[4], parts[8], ''), 3, '0');
      rest := regexp_replace(parts[10], '^ ?(?:UTC|GMT)|^ (?=.)', '');
    END IF;
    IF rest <> '' THEN
      parts := regexp_match(rest, '${offsetForm}');
      IF parts IS NULL THEN
        IF rest !~ '^[Zz]' OR NOT (length(rest) = 1 OR substr(rest, 2) ~ '${zoneId}') THEN RETURN NULL; END IF;
      ELSE
        rest := parts[7];
        IF NOT (rest = '' OR rest ~ '${zoneId}' OR rest ~ '${zoneName}') THEN RETURN NULL; END IF;
        IF parts[2] > '23' OR coalesce(parts[3], parts[5], parts[6], '0') > '59' OR coalesce(parts[4], '0') > '59' THEN
          RETURN NULL;
        END IF;
        offsetSeconds := (parts[1] || '1')::int * (parts[2]::int * 3600
          + coalesce(parts[3], parts[5], parts[6], '0')::int * 60 + coalesce(parts[4], '0')::int);
      END IF;
    END IF;
  END IF;

  IF minute > 59 OR second > 59 OR hour > 24 OR (hour = 24 AND minute + second + thousandths > 0) THEN
    RETURN NULL;
  END IF;
  isLeap := (year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0))::int;
  -- The day of 1 January since 1970.
  newYear := 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400 - 719528;
  IF month IS NOT NULL THEN
    IF month NOT BETWEEN 1 AND 12 THEN RETURN NULL; END IF;
    IF day NOT BETWEEN 1 AND substr('312831303130313130313031', month * 2 - 1, 2)::int + (month = 2)::int * isLeap THEN
      RETURN NULL;
    END IF;
    day := newYear + substr('000031059090120151181212243273304334', month * 3 - 2, 3)::int + (month > 2)::int * isLeap
      + day - 1;
  ELSIF dayOfYear IS NOT NULL THEN
    IF dayOfYear NOT BETWEEN 1 AND 365 + isLeap THEN RETURN NULL; END IF;
    day := newYear + dayOfYear - 1;
  ELSE
    -- From 1 January to the Monday of week 1, which has the first Thursday.
    firstMonday := 3 - (newYear + 770006) % 7;
    IF week NOT BETWEEN 1 AND 52 + (firstMonday + 367 < 365 + isLeap)::int THEN RETURN NULL; END IF;
    day := newYear + firstMonday + week * 7 + weekday - 8;
  END IF;
  ms := day * 86400000::bigint + hour * 3600000 + minute * 60000 + second * 1000 + thousandths - offsetSeconds * 1000;
  -- The years that RFC 3339 can write.
  RETURN CASE WHEN ms BETWEEN -62167219200000 AND 253402300799999 THEN ms END;
END $function$`
