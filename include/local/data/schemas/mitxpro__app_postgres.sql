-- MIT xPRO: the Django application's tables that the platform ingests.
-- Course and run ids may equal ids of MITx Online: they are unique on this platform only.

-- Accounts. Some people have an account at MITx Online as well, often with other letter case in the e-mail address.
CREATE TABLE users_user (
    id bigint PRIMARY KEY,
    username varchar(50) NOT NULL UNIQUE,
    email varchar(254) NOT NULL,                      -- may be empty
    name varchar(255) NOT NULL,
    is_staff boolean NOT NULL,
    is_superuser boolean NOT NULL,
    is_active boolean NOT NULL,
    last_login timestamptz,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE users_legaladdress (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user,
    first_name varchar(60) NOT NULL,
    last_name varchar(60) NOT NULL,
    street_address_1 varchar(60) NOT NULL,
    city varchar(50) NOT NULL,
    state_or_territory varchar(6) NOT NULL,           -- ISO 3166-2, or empty
    country varchar(2) NOT NULL,
    postal_code varchar(10) NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE users_profile (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL UNIQUE REFERENCES users_user,
    gender varchar(10),                               -- m, f, o or null
    birth_year integer,
    company varchar(128) NOT NULL,
    job_title varchar(128) NOT NULL,
    industry varchar(60) NOT NULL,
    years_experience integer,
    leadership_level varchar(60) NOT NULL,
    highest_education varchar(60) NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Who runs the courseware: xPRO itself or a partner.
CREATE TABLE courses_platform (
    id bigint PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_program (
    id bigint PRIMARY KEY,
    platform_id bigint NOT NULL REFERENCES courses_platform,
    title varchar(255) NOT NULL,
    readable_id varchar(255) NOT NULL UNIQUE,         -- program-v1:xPRO+SysEngx
    is_external boolean NOT NULL,
    live boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_course (
    id bigint PRIMARY KEY,
    program_id bigint REFERENCES courses_program,
    platform_id bigint NOT NULL REFERENCES courses_platform,
    position_in_program integer,
    title varchar(255) NOT NULL,
    readable_id varchar(255) NOT NULL UNIQUE,
    is_external boolean NOT NULL,
    live boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_courserun (
    id bigint PRIMARY KEY,
    course_id bigint NOT NULL REFERENCES courses_course,
    title varchar(255) NOT NULL,
    courseware_id varchar(255) UNIQUE,                -- null for runs that a partner has not opened yet
    external_course_run_id varchar(255),
    run_tag varchar(100) NOT NULL,
    courseware_url_path varchar(500),
    start_date timestamptz,
    end_date timestamptz,
    enrollment_start timestamptz,
    enrollment_end timestamptz,
    live boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- What generic relations point at: (courses, courserun), (courses, program).
CREATE TABLE django_content_type (
    id bigint PRIMARY KEY,
    app_label varchar(100) NOT NULL,
    model varchar(100) NOT NULL,
    UNIQUE (app_label, model)
);

CREATE TABLE ecommerce_product (
    id bigint PRIMARY KEY,
    content_type_id bigint NOT NULL REFERENCES django_content_type,
    object_id bigint NOT NULL,
    is_active boolean NOT NULL,
    is_private boolean NOT NULL,
    visible_in_bulk_form boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Prices of products: a change adds a row, rows never change.
CREATE TABLE ecommerce_productversion (
    id bigint PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES ecommerce_product,
    price numeric(20, 2) NOT NULL,
    description text NOT NULL,
    text_id varchar(255) NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Orders of learners. A refund sets the status; the whole amount is given back.
CREATE TABLE ecommerce_order (
    id bigint PRIMARY KEY,
    purchaser_id bigint NOT NULL REFERENCES users_user,
    status varchar(30) NOT NULL,                      -- created, fulfilled, failed, refunded
    total_price_paid numeric(20, 2) NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Lines of orders; every order has exactly one.
CREATE TABLE ecommerce_line (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ecommerce_order,
    product_version_id bigint NOT NULL REFERENCES ecommerce_productversion,
    quantity integer NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE ecommerce_couponpayment (
    id bigint PRIMARY KEY,
    name varchar(256) NOT NULL UNIQUE,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Terms of a set of coupons: a change adds a row, rows never change.
CREATE TABLE ecommerce_couponpaymentversion (
    id bigint PRIMARY KEY,
    payment_id bigint NOT NULL REFERENCES ecommerce_couponpayment,
    amount numeric(20, 5) NOT NULL,
    discount_type varchar(30) NOT NULL,               -- percent-off (amount 0 to 1), dollars-off
    coupon_type varchar(30) NOT NULL,                 -- promo, single-use
    num_coupon_codes integer NOT NULL,
    max_redemptions integer NOT NULL,
    max_redemptions_per_user integer NOT NULL,
    activation_date timestamptz,
    expiration_date timestamptz,
    payment_type varchar(128),
    automatic boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE ecommerce_coupon (
    id bigint PRIMARY KEY,
    payment_id bigint NOT NULL REFERENCES ecommerce_couponpayment,
    coupon_code varchar(50) NOT NULL,
    enabled boolean NOT NULL,
    is_global boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE ecommerce_couponversion (
    id bigint PRIMARY KEY,
    coupon_id bigint NOT NULL REFERENCES ecommerce_coupon,
    payment_version_id bigint NOT NULL REFERENCES ecommerce_couponpaymentversion,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE ecommerce_couponredemption (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ecommerce_order,
    coupon_version_id bigint NOT NULL REFERENCES ecommerce_couponversion,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

-- Seats sold to a company in bulk; paid for by the company, redeemed by learners with enrolment codes.
CREATE TABLE b2b_ecommerce_b2border (
    id bigint PRIMARY KEY,
    product_version_id bigint NOT NULL REFERENCES ecommerce_productversion,
    coupon_payment_version_id bigint REFERENCES ecommerce_couponpaymentversion,
    unique_id uuid NOT NULL UNIQUE,
    status varchar(30) NOT NULL,                      -- created, fulfilled, failed, refunded
    number_of_seats integer NOT NULL,
    per_item_price numeric(20, 2) NOT NULL,
    total_price numeric(20, 2) NOT NULL,
    email varchar(254) NOT NULL,
    contract_number varchar(50),
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);

CREATE TABLE courses_programenrollment (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    program_id bigint NOT NULL REFERENCES courses_program,
    order_id bigint REFERENCES ecommerce_order,
    active boolean NOT NULL,
    change_status varchar(20),
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, program_id)
);

-- Enrolments in course runs; there is no audit track, every one is paid for.
CREATE TABLE courses_courserunenrollment (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    run_id bigint NOT NULL REFERENCES courses_courserun,
    order_id bigint REFERENCES ecommerce_order,       -- null: enrolled by an administrator
    active boolean NOT NULL,
    change_status varchar(20),                        -- refunded, deferred, transferred or null
    edx_enrolled boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, run_id)
);

CREATE TABLE courses_courserungrade (
    id bigint PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users_user,
    course_run_id bigint NOT NULL REFERENCES courses_courserun,
    grade double precision,
    letter_grade varchar(6),
    passed boolean NOT NULL,
    set_by_admin boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL,
    UNIQUE (user_id, course_run_id)
);

-- Certificates of course runs. A reissue revokes the old row and adds one.
CREATE TABLE courses_courseruncertificate (
    id bigint PRIMARY KEY,
    uuid uuid NOT NULL UNIQUE,
    user_id bigint NOT NULL REFERENCES users_user,
    course_run_id bigint NOT NULL REFERENCES courses_courserun,
    is_revoked boolean NOT NULL,
    created_on timestamptz NOT NULL,
    updated_on timestamptz NOT NULL
);
