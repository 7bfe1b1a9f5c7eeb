-- MITx Online: the Django application's tables that the platform ingests.
-- Foreign keys are declared as the application has them; every mutable table carries created_on and updated_on.

-- Accounts. E-mail addresses keep the case their owners typed; unique when lower-cased and trimmed. Retired accounts keep a row.
CREATE TABLE users_user (
    id bigint PRIMARY KEY,
    username varchar(50) NOT NULL UNIQUE,
    email varchar(254) NOT NULL,                      -- may be empty for accounts made by an administrator
    name varchar(255) NOT NULL,
    global_id varchar(36),                            -- the identity provider's id; null until the first sign-in there
    is_staff boolean NOT NULL,
    is_superuser boolean NOT NULL,
    is_active boolean NOT NULL,
    last_login timestamptz,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Legal name and country; at most one per user.
CREATE TABLE users_legaladdress (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user,
    first_name varchar(60) NOT NULL,
    last_name varchar(60) NOT NULL,
    country varchar(2) NOT NULL,                      -- ISO 3166-1 alpha-2
    state varchar(10),                                -- ISO 3166-2, for the United States and Canada
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Voluntary answers about oneself; at most one per user.
CREATE TABLE users_userprofile (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user,
    gender varchar(128),                              -- m, f, t, nb, o or null
    year_of_birth integer,
    company varchar(128),
    job_title varchar(128),
    industry varchar(60),
    years_experience integer,
    highest_education varchar(60),
    type_is_student boolean,
    type_is_professional boolean,
    type_is_educator boolean,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- The account's user name at Open edX; joins to auth_user.username there.
CREATE TABLE openedx_openedxuser (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    platform varchar(20) NOT NULL,                    -- always edx
    edx_username varchar(30),                         -- null until the account has been created there
    has_been_synced boolean NOT NULL,
    has_sync_error boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, platform)
);

-- Partner organisations; a Wagtail page, hence the key's name.
CREATE TABLE b2b_organizationpage (
    page_ptr_id bigint PRIMARY KEY,
    name varchar(255) NOT NULL,
    org_key varchar(30) NOT NULL UNIQUE,              -- short, upper case; part of the readable ids of the organisation's runs
    description text NOT NULL,
    sso_organization_id uuid
);

-- Contracts with a partner organisation; runs point at the contract they are given for.
CREATE TABLE b2b_contractpage (
    page_ptr_id bigint PRIMARY KEY,
    organization_id bigint NOT NULL REFERENCES b2b_organizationpage,
    name varchar(255) NOT NULL,
    description text NOT NULL,
    integration_type varchar(255) NOT NULL,           -- sso, non-sso
    membership_type varchar(255) NOT NULL,            -- managed, code, auto
    contract_start date,
    contract_end date,
    active boolean NOT NULL,
    max_learners integer,                             -- null: unlimited
    enrollment_fixed_price numeric(20, 2)
);

-- Members of an organisation. A row is deleted when the member leaves.
CREATE TABLE b2b_userorganization (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    organization_id bigint NOT NULL REFERENCES b2b_organizationpage,
    keep_until_seen boolean NOT NULL,
    UNIQUE (user_id, organization_id)
);

-- Users who may use a contract.
CREATE TABLE users_user_b2b_contracts (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    contractpage_id bigint NOT NULL REFERENCES b2b_contractpage,
    UNIQUE (user_id, contractpage_id)
);

CREATE TABLE courses_department (
    id bigint PRIMARY KEY,
    name varchar(128) NOT NULL UNIQUE,
    slug varchar(128) NOT NULL UNIQUE,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_course (
    id bigint PRIMARY KEY,
    title varchar(255) NOT NULL,
    readable_id varchar(255) NOT NULL UNIQUE,         -- course-v1:MITxT+14.310x; unique on this platform only
    live boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_course_departments (
    id bigint PRIMARY KEY,
    course_id bigint NOT NULL REFERENCES courses_course,
    department_id bigint NOT NULL REFERENCES courses_department,
    UNIQUE (course_id, department_id)
);

-- One run of a course. Dates and titles change; a draft that was never opened is deleted.
CREATE TABLE courses_courserun (
    id bigint PRIMARY KEY,
    course_id bigint NOT NULL REFERENCES courses_course,
    title varchar(255) NOT NULL,
    courseware_id varchar(255) NOT NULL UNIQUE,       -- course-v1:MITxT+14.310x+1T2026; the id at Open edX
    run_tag varchar(100) NOT NULL,
    courseware_url_path varchar(500),
    start_date timestamptz,
    end_date timestamptz,
    enrollment_start timestamptz,
    enrollment_end timestamptz,
    upgrade_deadline timestamptz,
    certificate_available_date timestamptz,
    is_self_paced boolean NOT NULL,
    live boolean NOT NULL,
    b2b_contract_id bigint REFERENCES b2b_contractpage,   -- null: open to everybody
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_program (
    id bigint PRIMARY KEY,
    title varchar(255) NOT NULL,
    readable_id varchar(255) NOT NULL UNIQUE,         -- program-v1:MITxT+DEDP
    program_type varchar(255),
    live boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- A program's requirement tree (materialised path): a root, operators below it, courses below those.
CREATE TABLE courses_programrequirement (
    id bigint PRIMARY KEY,
    program_id bigint NOT NULL REFERENCES courses_program,
    path varchar(255) NOT NULL UNIQUE,                -- four characters a level
    depth integer NOT NULL,
    numchild integer NOT NULL,
    node_type varchar(12) NOT NULL,                   -- program_root, operator, course
    operator varchar(20),                             -- all_of, min_number_of
    operator_value varchar(100),
    title text,
    course_id bigint REFERENCES courses_course,
    elective_flag boolean NOT NULL
);

CREATE TABLE courses_programenrollment (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    program_id bigint NOT NULL REFERENCES courses_program,
    active boolean NOT NULL,
    change_status varchar(20),
    enrollment_mode varchar(20) NOT NULL,             -- audit, verified
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, program_id)
);

-- Enrolments in course runs. One row per user and run for ever: leaving and coming back change the row.
CREATE TABLE courses_courserunenrollment (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    run_id bigint NOT NULL REFERENCES courses_courserun,
    active boolean NOT NULL,
    change_status varchar(20),                        -- unenrolled, refunded, deferred, transferred or null
    enrollment_mode varchar(20) NOT NULL,             -- audit, verified
    edx_enrolled boolean NOT NULL,
    edx_emails_subscription boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, run_id)
);

CREATE TABLE courses_courserungrade (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    course_run_id bigint NOT NULL REFERENCES courses_courserun,
    grade double precision,                           -- 0 to 1
    letter_grade varchar(6),
    passed boolean NOT NULL,
    set_by_admin boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, course_run_id)
);

-- Certificates of course runs. A reissue revokes the old row and adds one, so (user, run) may occur twice. Mistakes are deleted.
CREATE TABLE courses_courseruncertificate (
    id bigint PRIMARY KEY,
    uuid uuid NOT NULL UNIQUE,
    user_id bigint NOT NULL REFERENCES users_user,
    course_run_id bigint NOT NULL REFERENCES courses_courserun,
    is_revoked boolean NOT NULL,
    issue_date timestamptz,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_programcertificate (
    id bigint PRIMARY KEY,
    uuid uuid NOT NULL UNIQUE,
    user_id bigint NOT NULL REFERENCES users_user,
    program_id bigint NOT NULL REFERENCES courses_program,
    is_revoked boolean NOT NULL,
    issue_date timestamptz,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- What generic relations point at: (courses, courserun), (courses, program), (ecommerce, product).
CREATE TABLE django_content_type (
    id bigint PRIMARY KEY,
    app_label varchar(100) NOT NULL,
    model varchar(100) NOT NULL,
    UNIQUE (app_label, model)
);

-- What is sold: a course run or a program.
CREATE TABLE ecommerce_product (
    id bigint PRIMARY KEY,
    content_type_id bigint NOT NULL REFERENCES django_content_type,
    object_id bigint NOT NULL,                        -- id of the run or program that content_type_id names
    price numeric(7, 2) NOT NULL,
    description text NOT NULL,
    is_active boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Versions of products as django-reversion keeps them: never changed, never deleted.
CREATE TABLE reversion_version (
    id bigint PRIMARY KEY,
    revision_id bigint NOT NULL,
    content_type_id bigint NOT NULL REFERENCES django_content_type,
    object_id varchar(191) NOT NULL,                  -- ecommerce_product.id as text
    db varchar(191) NOT NULL,
    format varchar(255) NOT NULL,
    serialized_data text NOT NULL,                    -- JSON: [{"model", "pk", "fields": {"price", …}}]
    object_repr text NOT NULL
);

CREATE TABLE ecommerce_order (
    id bigint PRIMARY KEY,
    purchaser_id bigint NOT NULL REFERENCES users_user,
    state varchar(50) NOT NULL,                       -- pending, fulfilled, canceled, declined, errored, refunded, partially_refunded
    total_price_paid numeric(20, 5) NOT NULL,
    reference_number varchar(255),
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Lines of orders; every order has exactly one.
CREATE TABLE ecommerce_line (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ecommerce_order,
    product_version_id bigint NOT NULL REFERENCES reversion_version,
    purchased_content_type_id bigint NOT NULL REFERENCES django_content_type,
    purchased_object_id bigint NOT NULL,              -- id of the run or program that purchased_content_type_id names
    quantity integer NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Payments and refunds, amounts positive in both. Never changed, never deleted. Orders with nothing to pay have none.
CREATE TABLE ecommerce_transaction (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ecommerce_order,
    transaction_id varchar(255),
    transaction_type varchar(20) NOT NULL,            -- payment, refund
    amount numeric(20, 5) NOT NULL,
    data jsonb NOT NULL,                              -- the payment processor's answer
    reason varchar(255) NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE ecommerce_discount (
    id bigint PRIMARY KEY,
    discount_code varchar(100) NOT NULL,
    discount_type varchar(30) NOT NULL,               -- percent-off, dollars-off, fixed-price
    amount numeric(20, 5) NOT NULL,
    redemption_type varchar(30) NOT NULL,             -- one-time, unlimited
    payment_type varchar(30),                         -- marketing, financial-assistance, customer-support, staff or null
    max_redemptions integer,
    activation_date timestamptz,
    expiration_date timestamptz,
    automatic boolean NOT NULL,
    for_flexible_pricing boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Redeemed discounts. Deleted when the order is cancelled.
CREATE TABLE ecommerce_discountredemption (
    id bigint PRIMARY KEY,
    redeemed_discount_id bigint NOT NULL REFERENCES ecommerce_discount,
    redeemed_order_id bigint NOT NULL REFERENCES ecommerce_order,
    redeemed_by_id bigint NOT NULL REFERENCES users_user,
    redemption_date timestamptz NOT NULL
);
