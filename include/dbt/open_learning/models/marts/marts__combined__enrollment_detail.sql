-- One row per enrolment that exists, with the person, the run as it is now, the final grade and the valid certificate.
with grades as (
  select platform, user_id, courserun_key, max(courserungrade_grade) as courserungrade_grade, bool_or(courserungrade_is_passing) as courserungrade_is_passing
  from {{ ref('tfact_grade') }}
  group by platform, user_id, courserun_key
),

certificates as (
  select platform, user_id, courserun_key, max_by(courseruncertificate_uuid, courseruncertificate_issued_on) as courseruncertificate_uuid,
    max(courseruncertificate_issued_on) as courseruncertificate_issued_on
  from {{ ref('tfact_certificate') }}
  where not is_deleted and not courseruncertificate_is_revoked
  group by platform, user_id, courserun_key
)

select
  enrollments.enrollment_key,
  enrollments.platform,
  platforms.platform_name,
  enrollments.user_key,
  users.user_email,
  users.user_full_name,
  users.user_address_country,
  enrollments.courserun_readable_id,
  course_runs.courserun_title,
  course_runs.courserun_start_on,
  course_runs.courserun_end_on,
  courses.course_readable_id,
  courses.course_title,
  enrollments.courserunenrollment_is_active,
  enrollments.courserunenrollment_is_verified,
  enrollments.courserunenrollment_enrollment_mode,
  enrollments.courserunenrollment_enrollment_status,
  enrollments.courserunenrollment_created_on,
  grades.courserungrade_grade,
  coalesce(grades.courserungrade_is_passing, false) as courserungrade_is_passing,
  certificates.courseruncertificate_uuid,
  certificates.courseruncertificate_issued_on
from {{ ref('tfact_enrollment') }} as enrollments
inner join {{ ref('dim_platform') }} as platforms on platforms.platform = enrollments.platform
inner join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = enrollments.courserun_key and course_runs.is_current
left join {{ ref('dim_course') }} as courses on courses.course_key = course_runs.course_key
left join {{ ref('dim_user') }} as users on users.user_key = enrollments.user_key
left join grades
  on grades.platform = enrollments.platform and grades.user_id = enrollments.user_id and grades.courserun_key = enrollments.courserun_key
left join certificates
  on certificates.platform = enrollments.platform and certificates.user_id = enrollments.user_id and certificates.courserun_key = enrollments.courserun_key
where not enrollments.is_deleted
