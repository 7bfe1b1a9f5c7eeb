{{ config(materialized='incremental', unique_key='certificate_key') }}

-- One row per certificate, revoked ones included. Certificates deleted in the source stay, marked is_deleted; readers leave them out.
{% set columns = [
  'certificate_key', 'platform', 'courseruncertificate_id', 'courseruncertificate_uuid', 'user_id', 'user_key', 'courserun_key', 'courserun_readable_id',
  'certificate_date_key', 'courseruncertificate_is_revoked', 'courseruncertificate_issued_on', 'courseruncertificate_created_on',
  'courseruncertificate_updated_on'
] %}

with certificates as (
  select
    'mitxonline' as platform,
    courseruncertificate_id,
    courseruncertificate_uuid,
    user_id,
    courserun_id,
    courseruncertificate_is_revoked,
    coalesce(courseruncertificate_issued_on, courseruncertificate_created_on) as courseruncertificate_issued_on,
    courseruncertificate_created_on,
    courseruncertificate_updated_on
  from {{ ref('stg__mitxonline__app__postgres__courses_courseruncertificate') }}

  union all

  -- xPRO issues a certificate when it makes the row.
  select
    'xpro',
    courseruncertificate_id,
    courseruncertificate_uuid,
    user_id,
    courserun_id,
    courseruncertificate_is_revoked,
    courseruncertificate_created_on,
    courseruncertificate_created_on,
    courseruncertificate_updated_on
  from {{ ref('stg__mitxpro__app__postgres__courses_courseruncertificate') }}
),

current_certificates as (
  select
    {{ surrogate_key(['certificates.platform', 'certificates.courseruncertificate_id']) }} as certificate_key,
    certificates.platform,
    certificates.courseruncertificate_id,
    certificates.courseruncertificate_uuid,
    certificates.user_id,
    accounts.user_key,
    {{ surrogate_key(['certificates.platform', 'certificates.courserun_id']) }} as courserun_key,
    course_runs.courserun_readable_id,
    {{ date_key('certificates.courseruncertificate_issued_on') }} as certificate_date_key,
    certificates.courseruncertificate_is_revoked,
    certificates.courseruncertificate_issued_on,
    certificates.courseruncertificate_created_on,
    certificates.courseruncertificate_updated_on
  from certificates
  left join {{ ref('int__combined__course_runs') }} as course_runs
    on course_runs.platform = certificates.platform and course_runs.courserun_id = certificates.courserun_id
  left join {{ ref('int__combined__user_accounts') }} as accounts
    on accounts.platform = certificates.platform and accounts.account_is_application and accounts.account_id = certificates.user_id
)

{{ fact_changes('current_certificates', key='certificate_key', updated_on='courseruncertificate_updated_on', columns=columns,
                resolved=['user_key', 'courserun_readable_id']) }}
