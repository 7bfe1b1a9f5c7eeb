-- MITx Online's Open edX (LMS). MySQL there, PostgreSQL here, with the types a MySQL connector delivers:
-- datetime(6) is a timestamp without zone and means UTC, tinyint(1) is boolean.

CREATE TABLE auth_user (
    id bigint PRIMARY KEY,
    username varchar(150) NOT NULL UNIQUE,            -- openedx_openedxuser.edx_username of the application
    email varchar(254) NOT NULL,                      -- the address at the account's creation; not kept equal to the application's
    first_name varchar(150) NOT NULL,
    last_name varchar(150) NOT NULL,
    is_staff boolean NOT NULL,
    is_active boolean NOT NULL,
    is_superuser boolean NOT NULL,
    last_login timestamp,
    date_joined timestamp NOT NULL
);

CREATE TABLE auth_userprofile (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL UNIQUE REFERENCES auth_user,
    name varchar(255) NOT NULL,
    language varchar(255) NOT NULL,
    country varchar(2),
    city text,
    year_of_birth integer,
    gender varchar(6),
    level_of_education varchar(6)                     -- p, m, b, a, hs, jhs, el, none, other or null
);

-- Published course runs. The primary key is the run's id; the columns "start" and "end" are reserved words and need quotes.
CREATE TABLE course_overviews_courseoverview (
    id varchar(255) PRIMARY KEY,                      -- courses_courserun.courseware_id of the application
    org text NOT NULL,
    display_name text,
    display_number_with_default text NOT NULL,
    display_org_with_default text NOT NULL,
    start timestamp,
    "end" timestamp,
    enrollment_start timestamp,
    enrollment_end timestamp,
    self_paced boolean NOT NULL,
    invitation_only boolean NOT NULL,
    lowest_passing_grade numeric(5, 2),
    created timestamp NOT NULL,
    modified timestamp NOT NULL
);

-- Enrolments. No modification time: is_active and mode change in place, so only a full refresh sees it.
CREATE TABLE student_courseenrollment (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth_user,
    course_id varchar(255) NOT NULL,
    mode varchar(100) NOT NULL,                       -- audit, verified
    is_active boolean NOT NULL,
    created timestamp,
    UNIQUE (user_id, course_id)
);

-- Course teams. Rows are deleted when a role is withdrawn.
CREATE TABLE student_courseaccessrole (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth_user,
    org varchar(64) NOT NULL,
    course_id varchar(255) NOT NULL,
    role varchar(64) NOT NULL,                        -- instructor, staff, beta_testers
    UNIQUE (user_id, org, course_id, role)
);

-- A learner's state in one block of a run: one row per learner and block, changed with every attempt.
CREATE TABLE courseware_studentmodule (
    id bigint PRIMARY KEY,
    module_type varchar(32) NOT NULL,                 -- problem, video, sequential
    module_id varchar(255) NOT NULL,                  -- block-v1:…
    student_id bigint NOT NULL REFERENCES auth_user,
    course_id varchar(255) NOT NULL,
    state text,                                       -- JSON
    grade double precision,
    max_grade double precision,
    done varchar(8) NOT NULL,
    created timestamp NOT NULL,
    modified timestamp NOT NULL,
    UNIQUE (student_id, module_id)
);

CREATE TABLE grades_persistentcoursegrade (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth_user,
    course_id varchar(255) NOT NULL,
    course_edited_timestamp timestamp,
    course_version varchar(255) NOT NULL,
    grading_policy_hash varchar(255) NOT NULL,
    percent_grade double precision NOT NULL,          -- 0 to 1
    letter_grade varchar(255) NOT NULL,               -- Pass or empty
    passed_timestamp timestamp,
    created timestamp NOT NULL,
    modified timestamp NOT NULL,
    UNIQUE (course_id, user_id)
);

CREATE TABLE grades_persistentsubsectiongrade (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth_user,
    course_id varchar(255) NOT NULL,
    usage_key varchar(255) NOT NULL,                  -- block-v1:… of the subsection
    subtree_edited_timestamp timestamp,
    course_version varchar(255) NOT NULL,
    earned_all double precision NOT NULL,
    possible_all double precision NOT NULL,
    earned_graded double precision NOT NULL,
    possible_graded double precision NOT NULL,
    first_attempted timestamp,
    created timestamp NOT NULL,
    modified timestamp NOT NULL,
    UNIQUE (course_id, user_id, usage_key)
);

CREATE TABLE certificates_generatedcertificate (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES auth_user,
    course_id varchar(255) NOT NULL,
    verify_uuid varchar(32) NOT NULL,
    grade varchar(5) NOT NULL,
    status varchar(32) NOT NULL,                      -- downloadable, notpassing, unavailable
    mode varchar(32) NOT NULL,
    name varchar(255) NOT NULL,
    error_reason varchar(512) NOT NULL,
    created_date timestamp NOT NULL,
    modified_date timestamp NOT NULL,
    UNIQUE (user_id, course_id)
);
