select
  id as program_id,
  readable_id as program_readable_id,
  title as program_title,
  live as program_is_live
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__courses_program') }}
