select
  id as openedxuser_id,
  user_id,
  edx_username as openedx_username
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__openedx_openedxuser') }}
where platform = 'edx'
