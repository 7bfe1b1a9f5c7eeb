select
  id as studentmodule_id,
  student_id as openedx_user_id,
  course_id as courserun_readable_id,
  module_id as coursestructure_block_id,
  module_type as coursestructure_block_category,
  grade as studentmodule_problem_grade,
  max_grade as studentmodule_problem_max_grade,
  created as studentmodule_created_on,
  modified as studentmodule_updated_on
from {{ deduplicate(source('ol_warehouse_raw_data', 'raw__mitxonline__openedx__mysql__courseware_studentmodule'), key=['id'], order_by=['modified']) }}
