-- Learners are counted as accounts of the platform, so that the totals equal the application's own.
with enrollments as (
  select
    courserun_key,
    count(*) as enrollment_count,
    count_if(courserunenrollment_is_active) as active_count,
    count_if(courserunenrollment_is_verified) as verified_count
  from {{ ref('tfact_enrollment') }}
  where not is_deleted
  group by courserun_key
),

certificates as (
  select courserun_key, count(distinct user_id) as certificate_count
  from {{ ref('tfact_certificate') }}
  where not is_deleted and not courseruncertificate_is_revoked
  group by courserun_key
),

grades as (
  select courserun_key, count(distinct user_id) as passed_count
  from {{ ref('tfact_grade') }}
  where courserungrade_is_passing
  group by courserun_key
)

select
  course_runs.platform,
  course_runs.courserun_readable_id,
  course_runs.courserun_title,
  courses.course_readable_id,
  courses.course_title,
  course_runs.courserun_start_on,
  enrollments.enrollment_count,
  enrollments.active_count,
  enrollments.verified_count,
  coalesce(certificates.certificate_count, 0) as certificate_count,
  coalesce(grades.passed_count, 0) as passed_count
from enrollments
inner join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = enrollments.courserun_key and course_runs.is_current
left join {{ ref('dim_course') }} as courses on courses.course_key = course_runs.course_key
left join certificates on certificates.courserun_key = enrollments.courserun_key
left join grades on grades.courserun_key = enrollments.courserun_key
where course_runs.courserun_readable_id is not null
