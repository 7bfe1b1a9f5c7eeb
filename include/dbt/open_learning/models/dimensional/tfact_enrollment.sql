{{ config(materialized='incremental', unique_key='enrollment_key') }}

-- One row per enrolment. Rows that were deleted in the source stay, marked is_deleted; readers leave them out.
{% set columns = [
  'enrollment_key', 'platform', 'courserunenrollment_id', 'user_id', 'user_key', 'courserun_key', 'courserun_readable_id', 'enrollment_date_key',
  'courserunenrollment_is_active', 'courserunenrollment_is_verified', 'courserunenrollment_enrollment_mode', 'courserunenrollment_enrollment_status',
  'courserunenrollment_is_edx_enrolled', 'courserunenrollment_created_on', 'courserunenrollment_updated_on'
] %}

with enrollments as (
  select
    'mitxonline' as platform,
    courserunenrollment_id,
    user_id,
    courserun_id,
    courserunenrollment_is_active,
    courserunenrollment_enrollment_mode,
    courserunenrollment_enrollment_status,
    courserunenrollment_is_edx_enrolled,
    courserunenrollment_created_on,
    courserunenrollment_updated_on
  from {{ ref('stg__mitxonline__app__postgres__courses_courserunenrollment') }}

  union all

  -- xPRO has no audit track: whoever is enrolled there has paid, so the mode is verified throughout.
  select
    'xpro',
    courserunenrollment_id,
    user_id,
    courserun_id,
    courserunenrollment_is_active,
    'verified',
    courserunenrollment_enrollment_status,
    courserunenrollment_is_edx_enrolled,
    courserunenrollment_created_on,
    courserunenrollment_updated_on
  from {{ ref('stg__mitxpro__app__postgres__courses_courserunenrollment') }}
),

current_enrollments as (
  select
    {{ surrogate_key(['enrollments.platform', 'enrollments.courserunenrollment_id']) }} as enrollment_key,
    enrollments.platform,
    enrollments.courserunenrollment_id,
    enrollments.user_id,
    accounts.user_key,
    {{ surrogate_key(['enrollments.platform', 'enrollments.courserun_id']) }} as courserun_key,
    course_runs.courserun_readable_id,
    {{ date_key('enrollments.courserunenrollment_created_on') }} as enrollment_date_key,
    enrollments.courserunenrollment_is_active,
    enrollments.courserunenrollment_is_active and enrollments.courserunenrollment_enrollment_mode = 'verified' as courserunenrollment_is_verified,
    enrollments.courserunenrollment_enrollment_mode,
    enrollments.courserunenrollment_enrollment_status,
    enrollments.courserunenrollment_is_edx_enrolled,
    enrollments.courserunenrollment_created_on,
    enrollments.courserunenrollment_updated_on
  from enrollments
  left join {{ ref('int__combined__course_runs') }} as course_runs
    on course_runs.platform = enrollments.platform and course_runs.courserun_id = enrollments.courserun_id
  left join {{ ref('int__combined__user_accounts') }} as accounts
    on accounts.platform = enrollments.platform and accounts.account_is_application and accounts.account_id = enrollments.user_id
)

{{ fact_changes('current_enrollments', key='enrollment_key', updated_on='courserunenrollment_updated_on', columns=columns,
                resolved=['user_key', 'courserun_readable_id']) }}
